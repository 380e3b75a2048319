"""What pools kept in a folder share: where things lie, how they appear and go in one step, and tidying after a crash.

ROOT/volumes/TYPE/PROJECT_NAME/               a volume; an image is volumes/image/FINGERPRINT
ROOT/volumes/TYPE/PROJECT_NAME/snapshots/S/   its snapshots, which are renamed and deleted with it
ROOT/new/ID/                                  what is being built; becomes a volume or snapshot by one rename
ROOT/trash/ID/                                what is deleted, removed in the background
"""

import asyncio
import contextlib
import errno
import os
import uuid
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from hutch.errors import AlreadyExists, HutchError, Invalid, NotFound, ToolFailed
from hutch.kernel import tree
from hutch.schema.base import Config
from hutch.schema.keys import pool as keys
from hutch.schema.keys.base import check_all
from hutch.storage.base import Fill, Space, StorageDriver, Volume
from hutch.storage.trash import Trash

NOTE = "backup.yaml"
"""The file in a volume's folder from which its records can be made again."""
TYPES = ("container", "custom", "image")
_FULL = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded"}

Given = ParamSpec("Given")
Result = TypeVar("Result")


async def in_thread(function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """Like asyncio.to_thread, but a cancelled caller waits for the end: what it then undoes is not still being done."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise


class FolderPool(StorageDriver):
    """A pool whose volumes are folders below `root`; `folders` are those that it keeps there for itself."""

    folders: tuple[str, ...] = ("volumes", "new", "trash")

    def __init__(self, name: str, path: Path, config: Config) -> None:
        super().__init__(name, path, config)
        self.root = self.place()
        self.trash = Trash(self.root / "trash", self.remove)

    def place(self) -> Path:
        """The folder the pool is kept in."""
        return Path(self.config.get("source") or self.path)

    @abstractmethod
    async def populate(self, new: Path, image: str | None, fill: Fill | None) -> None:
        """Make the empty folder `new` a volume: of an image, of what `fill` writes, or empty."""

    async def populate_image(self, new: Path, fingerprint: str, fill: Fill) -> None:
        """Make the empty folder `new` an image."""
        await self.populate(new, None, fill)

    @abstractmethod
    async def clone(self, source: Volume, new: Path) -> None:
        """Make the empty folder `new` a volume that holds what `source` holds, without its snapshots."""

    @abstractmethod
    async def freeze(self, source: Volume, new: Path) -> None:
        """Make the empty folder `new` a snapshot that holds what `source` holds; `source` may be in use."""

    async def collect(self) -> None:
        """See that everything nobody needs any more is removed, in the background."""
        self.trash.sweep()

    async def remove(self, path: Path) -> None:
        """Remove something from the trash."""
        await tree.remove(path)

    async def update(self, config: Config) -> Config:
        fixed = {key: value for key, value in self.config.items() if key.startswith(("source", "volatile."))}
        wanted = fixed | config
        table = keys.pool(type(self).__module__.rpartition(".")[2])
        check_all(f"storage pool {self.name}", wanted, table, free=keys.FREE)
        if changed := [key for key, value in fixed.items() if wanted[key] != value]:
            raise Invalid(f"storage pool {self.name}: {', '.join(changed)} cannot be changed")
        self.config = await self.apply(wanted)
        return self.config

    async def apply(self, wanted: Config) -> Config:
        """Do what changed settings ask for; the settings as they are now."""
        return wanted

    async def create(self) -> None:
        await in_thread(self._lay_out)

    def _lay_out(self) -> None:
        if self.root == self.path:
            self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        for name in self.folders:
            (self.root / name).mkdir(mode=0o700, exist_ok=True)
        for kind in TYPES:
            (self.root / "volumes" / kind).mkdir(mode=0o700, exist_ok=True)

    async def activate(self) -> None:
        await in_thread(self._tidy)
        await self.collect()

    def _tidy(self) -> None:
        if not self.root.is_dir():
            raise NotFound(f"the folder {self.root} of pool {self.name} is not there")
        self._lay_out()
        for path in list((self.root / "new").iterdir()):
            self.trash.take(path)
        for draft in (self.root / "volumes").glob(f"*/*/*{tree.DRAFT}"):
            draft.unlink()

    async def recover(self) -> None:
        if not await in_thread((self.root / "volumes").is_dir):
            raise NotFound(f"there is no storage pool at {self.root}")
        await self.activate()

    async def note(self, volume: Volume, text: str) -> None:
        await in_thread(tree.write, await in_thread(self.find, volume) / NOTE, text)

    async def noted(self, volume: Volume) -> str:
        try:
            return await in_thread((await in_thread(self.find, volume) / NOTE).read_text)
        except FileNotFoundError:
            return ""

    async def deactivate(self) -> None:
        await self.trash.close()

    async def destroy(self) -> None:
        await self.trash.close()
        for name in self.folders:
            await self.remove(self.root / name)
        if self.root == self.path:
            with contextlib.suppress(FileNotFoundError):
                await in_thread(self.path.rmdir)

    async def space(self) -> Space:
        status = await in_thread(os.statvfs, self.root)
        size, total, free = status.f_frsize, status.f_blocks, status.f_bfree
        return Space(total * size, (total - free) * size, status.f_files, status.f_files - status.f_ffree)

    def folder(self, volume: Volume) -> Path:
        """Where the volume or snapshot is, or would be."""
        if volume.type not in TYPES:
            raise Invalid(f"pool {self.name} has no volumes of type {volume.type!r}")
        label = volume.name if volume.type == "image" else f"{volume.project}_{volume.name}"
        folder = self.root / "volumes" / volume.type / plain(label)
        return folder / "snapshots" / plain(volume.snapshot) if volume.snapshot else folder

    def find(self, volume: Volume) -> Path:
        """Where the volume or snapshot is; NotFound when it is not."""
        folder = self.folder(volume)
        if not folder.is_dir():
            raise NotFound(f"{describe(volume)} is not on pool {self.name}")
        return folder

    @contextlib.asynccontextmanager
    async def building(self) -> AsyncIterator[Path]:
        """An empty folder to build in; what has not been published from it at the end is thrown away."""
        new = self.root / "new" / uuid.uuid4().hex
        with self.space_errors():
            try:
                await in_thread(new.mkdir)
                yield new
            finally:
                if await in_thread(self.trash.take, new):
                    await self.collect()

    @contextlib.contextmanager
    def space_errors(self) -> Iterator[None]:
        """Says which pool is full."""
        try:
            yield
        except (OSError, HutchError) as error:
            if not _is_full(error):
                raise
            raise HutchError(
                f"no space left on pool {self.name}: free some on the filesystem of {self.root}, or grow the pool"
            ) from error

    async def publish(self, new: Path, volume: Volume) -> None:
        """Give what was built in `new` its name, in one step; AlreadyExists when the name is taken."""
        try:
            await in_thread(self._publish, new, volume)
        except asyncio.CancelledError:
            if not await in_thread(new.exists):
                await self.delete(volume)
            raise

    def _publish(self, new: Path, volume: Volume) -> None:
        self._expect_free(volume)
        if volume.snapshot:
            self.folder(volume).parent.mkdir(exist_ok=True)
        tree.publish(new, self.folder(volume))

    def _expect_free(self, volume: Volume) -> None:
        """The name is valid, not taken, and a snapshot's volume is there."""
        if self.folder(volume).exists():
            raise AlreadyExists(f"{describe(volume)} already exists on pool {self.name}")
        if volume.snapshot:
            self.find(volume.at(""))

    async def has(self, volume: Volume) -> bool:
        return await in_thread(self.folder(volume).is_dir)

    async def create_image(self, fingerprint: str, fill: Fill) -> None:
        image = Volume("image", "", fingerprint)
        if await self.has(image):
            return
        async with self.building() as new:
            await self.populate_image(new, fingerprint, fill)
            await in_thread(tree.sync_all, self.root)
            with contextlib.suppress(AlreadyExists):
                await self.publish(new, image)

    async def create_volume(self, volume: Volume, *, image: str | None = None, fill: Fill | None = None) -> None:
        await in_thread(self._expect_free, volume)
        async with self.building() as new:
            await self.populate(new, image, fill)
            await self.publish(new, volume)

    async def copy(self, source: Volume, target: Volume, *, snapshots: Sequence[str] = ()) -> None:
        await in_thread(self._expect_free, target)
        async with self.building() as new:
            await self.clone(source, new)
            for name in snapshots:
                await self._copy_snapshot(source.at(name), new / "snapshots" / name)
            await self.publish(new, target)

    async def _copy_snapshot(self, source: Volume, new: Path) -> None:
        await in_thread(new.mkdir, parents=True)
        await self.freeze(source, new)

    async def delete(self, volume: Volume) -> None:
        if await in_thread(self.trash.take, self.folder(volume)):
            await self.collect()

    async def rename(self, volume: Volume, name: str) -> None:
        source = await in_thread(self.find, volume)
        renamed = volume.at(name) if volume.snapshot else Volume(volume.type, volume.project, name)
        await in_thread(self._publish, source, renamed)

    async def snapshot(self, volume: Volume, name: str) -> None:
        await in_thread(self._expect_free, volume.at(name))
        async with self.building() as new:
            await self.freeze(volume, new)
            await self.publish(new, volume.at(name))

    async def volumes(self) -> list[Volume]:
        return await in_thread(lambda: list(self._volumes()))

    def _volumes(self) -> Iterator[Volume]:
        for kind in TYPES:
            for folder in sorted((self.root / "volumes" / kind).iterdir()):
                project, _, name = ("", "", folder.name) if kind == "image" else folder.name.partition("_")
                volume = Volume(kind, project, name)
                yield volume
                if (folder / "snapshots").is_dir():
                    yield from (volume.at(entry.name) for entry in sorted((folder / "snapshots").iterdir()))


def describe(volume: Volume) -> str:
    """The volume as a sentence names it."""
    name = f"{volume.name}/{volume.snapshot}" if volume.snapshot else volume.name
    return f"the {'snapshot' if volume.snapshot else volume.type + ' volume'} {name!r}"


def plain(name: str) -> str:
    """The name, which must be one of a file in a folder. Raises Invalid."""
    if not name or "/" in name or name in (".", "..") or "\0" in name:
        raise Invalid(f"invalid name of a volume {name!r}")
    return name


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if isinstance(error, ToolFailed) and any(text in error.stderr for text in _FULL.values()):
            return True
        error = error.__cause__
    return False
