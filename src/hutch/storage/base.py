"""What a storage driver does: it only touches its own disk and keeps what it must remember on it.

Trees are stored with the guest's own ids (root is 0) and are never chowned; `mount` gives them shifted.
Every method may be interrupted by kill -9 at any point: the next `activate` finishes or removes what was begun, and
an object under its final name is always whole.
"""

from abc import ABC, abstractmethod
from asyncio import StreamReader
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hutch.errors import Unsupported
from hutch.kernel.idmap import IdMap
from hutch.schema.base import Config

Fill = Callable[[Path], Awaitable[None]]
"""Fills the empty directory it is given with a tree that has the guest's own ids."""


@dataclass(frozen=True)
class Space:
    """Bytes and inodes, in all and used."""

    total: int
    used: int
    inodes_total: int = 0
    inodes_used: int = 0


@dataclass(frozen=True)
class Volume:
    """A volume by name. `type` is container, image or custom; `snapshot` names a snapshot of it, empty for itself."""

    type: str
    project: str
    name: str
    snapshot: str = ""

    def at(self, snapshot: str) -> "Volume":
        return Volume(self.type, self.project, self.name, snapshot)


@dataclass(frozen=True)
class Piece:
    """One of the trees that a volume consists of, lowest first; only the last one changes. `image`: it is that image's, unchanged."""

    name: str
    image: str = ""


class StorageDriver(ABC):
    """One pool. `path` is the folder that the daemon gives it (DIR/storage-pools/NAME), `config` the pool's settings."""

    copies_at_once: ClassVar[bool] = False
    """Whether a copy costs next to nothing, whatever the volume's size."""

    stream: ClassVar[str] = ""
    """The form in which this driver can send a snapshot whole to a pool with the same driver on another host; empty: it cannot."""

    def __init__(self, name: str, path: Path, config: Config) -> None:
        self.name, self.path, self.config = name, path, config

    @classmethod
    @abstractmethod
    async def check(cls, config: Config, path: Path) -> Config:
        """The settings completed with what is chosen here (source, size); Invalid or Unsupported with the reason and the remedy."""

    @abstractmethod
    async def update(self, config: Config) -> Config:
        """Take over changed settings while the pool is in use; all settings as they are now. Invalid for what cannot change."""

    @abstractmethod
    async def create(self) -> None:
        """Make the pool; on failure nothing is left."""

    @abstractmethod
    async def activate(self) -> None:
        """Make an existing pool usable after a daemon start (mount it) and finish or remove what a crash left."""

    @classmethod
    async def recall(cls, config: Config, path: Path) -> Config:
        """The settings of a pool whose record is lost, as far as they can be told from where it lies."""
        return {"source": str(path)} | config

    async def recover(self) -> None:
        """Like `activate`, of a pool whose record is lost; NotFound, and nothing changed, when no pool is there."""
        await self.activate()

    async def stream_identity(self, volume: Volume) -> str:
        """How streams name the volume or snapshot; empty for one that cannot be sent in a stream."""
        return ""

    def send(self, snapshot: Volume, parent: Volume | None) -> AbstractAsyncContextManager[StreamReader]:
        """The stream of a snapshot, of what differs from the snapshot `parent` if there is one."""
        raise Unsupported(f"pool {self.name} has no streams")

    async def receive(self, volume: Volume, blocks: AsyncIterator[bytes]) -> None:
        """Make a snapshot of what a stream brings, or, when `volume` names none, let the volume, which is there, hold it."""
        raise Unsupported(f"pool {self.name} has no streams")

    @abstractmethod
    async def deactivate(self) -> None: ...

    @abstractmethod
    async def destroy(self) -> None:
        """Remove the pool, also one whose creation failed or was killed half-way; never what was there before it."""

    @abstractmethod
    async def space(self) -> Space: ...

    @abstractmethod
    async def has(self, volume: Volume) -> bool: ...

    @abstractmethod
    async def create_image(self, fingerprint: str, fill: Fill) -> None:
        """Keep an image's unpacked tree as the ancestor of volumes. Does nothing when it is there."""

    @abstractmethod
    async def create_volume(self, volume: Volume, *, image: str | None = None, fill: Fill | None = None) -> None:
        """A volume from an image's tree, from what `fill` writes, or empty."""

    @abstractmethod
    async def copy(self, source: Volume, target: Volume, *, snapshots: Sequence[str] = ()) -> None:
        """A volume with what `source` (a volume or a snapshot) holds now, and the named snapshots with it."""

    @abstractmethod
    async def delete(self, volume: Volume) -> None:
        """Remove a volume with its snapshots, or a snapshot, or an image (type image, any project).

        What others still share stays until its last user goes. Does nothing if absent; the removal goes on behind.
        """

    @abstractmethod
    async def rename(self, volume: Volume, name: str) -> None:
        """Rename a volume, or a snapshot when `volume` names one."""

    @abstractmethod
    async def snapshot(self, volume: Volume, name: str) -> None:
        """Keep what the volume holds now; it may be in use (the caller has frozen its writers), the driver finds that out."""

    @abstractmethod
    async def restore(self, volume: Volume, snapshot: str) -> None:
        """Make the volume hold what its snapshot holds; Conflict when it is in use. What was mounted of it is stale."""

    @abstractmethod
    async def mount(self, volume: Volume, idmap: Sequence[IdMap], *, readonly: bool = False) -> int:
        """A detached mount of the volume or snapshot as a descriptor (O_PATH), ids shifted by `idmap` (empty: as stored).

        The caller closes it or attaches it with kernel.mount.attach. Closing an unattached one unmounts it.
        """

    async def share(self, volume: Volume, idmap: Sequence[IdMap], *, readonly: bool = False) -> int:
        """Like `mount`, of a volume that other guests may have mounted already; Conflict when they cannot share it."""
        return await self.mount(volume, idmap, readonly=readonly)

    async def pieces(self, volume: Volume) -> list[tuple[Piece, Path]]:
        """What the volume consists of, to be read file by file, also while it is in use. Unsupported where it is no files."""
        raise Unsupported(f"volumes of the storage driver {self.driver!r} cannot be moved while they are in use")

    async def assemble(
        self, volume: Volume, pieces: Sequence[Piece], snapshots: Mapping[str, Sequence[Piece]]
    ) -> dict[str, Path]:
        """A new volume of these pieces, and its snapshots, by name where to write those that are not here: empty trees with
        the guest's own ids. `assembled` is to be called with them once they are written.

        Unsupported when it takes another kind of pieces here.
        """
        raise Unsupported(f"volumes of the storage driver {self.driver!r} cannot be moved while they are in use")

    async def assembled(self, written: Iterable[Path]) -> None:
        """What `assemble` wanted is there: other volumes may share it."""

    @property
    def driver(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    async def usage(self, volume: Volume) -> int:
        """Bytes that the volume holds by itself."""

    @abstractmethod
    async def set_quota(self, volume: Volume, size: int) -> None:
        """Limit the volume to `size` bytes, 0 for no limit; Unsupported where the filesystem has no quotas."""

    @abstractmethod
    async def note(self, volume: Volume, text: str) -> None:
        """Keep a text beside the volume, which goes with it and is renamed with it but not copied; NotFound if absent."""

    @abstractmethod
    async def noted(self, volume: Volume) -> str:
        """The text that was kept last, empty when there is none."""

    @abstractmethod
    async def volumes(self) -> list[Volume]:
        """Every volume and snapshot on disk, for reconciliation and recovery."""
