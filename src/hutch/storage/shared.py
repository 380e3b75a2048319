"""One mount of a volume for all the guests that have it, where a second one of the same volume would not be the same.

FOLDER/PROJECT_NAME/IDS is the common mount with ids shifted by IDS; what guests get are clones of it. It goes when
no clone of it is attached in the daemon's mount namespace, which outlives the daemon when guests do.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from hutch.errors import Conflict
from hutch.kernel import mount
from hutch.kernel.idmap import IdMap
from hutch.storage.base import Volume


def label(volume: Volume) -> str:
    return (
        f"{volume.project}_{volume.name}"
        if volume.type == "custom"
        else f"{volume.type}:{volume.project}_{volume.name}"
    )


class Shared:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = asyncio.Lock()

    async def clone(self, name: str, idmap: Sequence[IdMap], first: Callable[[], Awaitable[int]]) -> int:
        """A detached clone of the common mount, which `first` makes when there is none yet."""
        point = self.folder / name / _ids(idmap)
        async with self._lock:
            if not await asyncio.to_thread(mount.is_mounted, point):
                await asyncio.to_thread(self._expect_no_other, name)
                with mount.closing(await first()) as tree:
                    await asyncio.to_thread(_attach, tree, point)
            return await asyncio.to_thread(mount.open_tree, point)

    def _expect_no_other(self, name: str) -> None:
        if any(self._points(name)) and not self.let_go(name):
            raise Conflict(
                f"the volume {name.partition('_')[2]!r} is in use by guests with other ids: on an overlay pool privileged and "
                "unprivileged guests cannot share a volume, on a btrfs or dir pool they can"
            )

    def let_go(self, name: str) -> bool:
        """Detach the common mount unless a clone of it is attached somewhere; whether one was. Blocks."""
        if not any(self._points(name)):
            return False
        everything = mount.mounts()
        own = [each for each in everything if each.path.parent == self.folder / name]
        devices = {each.device for each in own}
        if any(each.device in devices and each not in own for each in everything):
            return False
        for each in own:
            mount.detach(each.path)
        self._tidy(self.folder / name)
        return bool(own)

    def close(self) -> None:
        """Detach every common mount, whoever uses it. Blocks."""
        for each in mount.below(self.folder):
            mount.detach(each.path)
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                self._tidy(path)
            self.folder.rmdir()

    def _points(self, name: str) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):
            return [path for path in (self.folder / name).iterdir() if mount.is_mounted(path)]
        return []

    def _tidy(self, folder: Path) -> None:
        for path in folder.iterdir():
            path.rmdir()
        folder.rmdir()


def _ids(idmap: Sequence[IdMap]) -> str:
    return ",".join(f"{each.kind}{each.inside}-{each.outside}-{each.count}" for each in idmap) or "as-stored"


def _attach(tree: int, point: Path) -> None:
    point.mkdir(mode=0o700, parents=True, exist_ok=True)
    mount.attach(tree, point)
