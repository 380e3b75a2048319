"""Pools of plain folders, on any filesystem: every volume is a full copy, with shared blocks where the filesystem can."""

from pathlib import Path

from hutch.kernel import tree
from hutch.schema.base import Config
from hutch.storage import quotas, source
from hutch.storage.base import Volume
from hutch.storage.folder import in_thread
from hutch.storage.trees import TREE, TreePool


class Driver(TreePool):
    """An image is unpacked once and copied for each instance."""

    @classmethod
    async def check(cls, config: Config, path: Path) -> Config:
        return await in_thread(source.folder, "dir", config, path)

    async def make_tree(self, path: Path) -> None:
        await in_thread(path.mkdir)

    async def copy_tree(self, source: Path, target: Path, *, readonly: bool = False) -> None:
        await tree.copy(source, target)

    async def restore(self, volume: Volume, snapshot: str) -> None:
        await super().restore(volume, snapshot)
        folder = self.folder(volume)
        await in_thread(quotas.apply, folder, [folder / TREE])

    async def usage(self, volume: Volume) -> int:
        return await tree.usage([await in_thread(self.find, volume) / TREE])

    async def set_quota(self, volume: Volume, size: int) -> None:
        folder = await in_thread(self.find, volume)
        await in_thread(quotas.set_limit, folder, [folder / TREE], size)
