"""Pools whose volumes each have a tree of their own, `tree` in the volume's folder; how one is copied is the driver's."""

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from hutch.errors import NotFound, Unsupported
from hutch.kernel import mount, namespaces, tree
from hutch.kernel.idmap import IdMap
from hutch.kernel.mount import MOUNT_ATTR_NODEV, MOUNT_ATTR_RDONLY
from hutch.storage.base import Fill, Piece, Volume
from hutch.storage.folder import FolderPool, in_thread

TREE = "tree"


class TreePool(FolderPool):
    """Drivers make trees, copy and remove them; the rest is the same for all."""

    @abstractmethod
    async def make_tree(self, path: Path) -> None:
        """An empty tree."""

    @abstractmethod
    async def copy_tree(self, source: Path, target: Path, *, readonly: bool = False) -> None:
        """The tree at `source` also at `target`; `readonly` when nothing will be written to it again."""

    async def populate(self, new: Path, image: str | None, fill: Fill | None) -> None:
        if image is not None:
            folder = self.folder(Volume("image", "", image))
            if not await in_thread(folder.is_dir):
                raise NotFound(f"the image {image} is not on pool {self.name}")
            await self.copy_tree(folder / TREE, new / TREE)
            return
        await self.make_tree(new / TREE)
        await in_thread((new / TREE).chmod, 0o755)
        if fill is not None:
            await fill(new / TREE)

    async def clone(self, source: Volume, new: Path) -> None:
        await self.copy_tree(await in_thread(self.find, source) / TREE, new / TREE)

    async def freeze(self, source: Volume, new: Path) -> None:
        await self.copy_tree(await in_thread(self.find, source) / TREE, new / TREE, readonly=True)

    async def pieces(self, volume: Volume) -> list[tuple[Piece, Path]]:
        return [(Piece(TREE), await in_thread(self.find, volume) / TREE)]

    async def assemble(
        self, volume: Volume, pieces: Sequence[Piece], snapshots: Mapping[str, Sequence[Piece]]
    ) -> dict[str, Path]:
        if [each.name for each in pieces] != [TREE]:
            raise Unsupported(f"the volume comes in layers, which pool {self.name} ({self.driver}) does not keep")
        if snapshots:
            raise Unsupported(f"a volume with snapshots cannot be taken in use by pool {self.name} ({self.driver})")
        await self.create_volume(volume)
        return {TREE: self.folder(volume) / TREE}

    async def restore(self, volume: Volume, snapshot: str) -> None:
        folder = await in_thread(self.find, volume)
        async with self.building() as new:
            await self.clone(volume.at(snapshot), new)
            await in_thread(tree.exchange, new / TREE, folder / TREE)

    async def mount(self, volume: Volume, idmap: Sequence[IdMap], *, readonly: bool = False) -> int:
        folder = await in_thread(self.find, volume)
        fixed = readonly or bool(volume.snapshot) or volume.type == "image"
        attributes = (MOUNT_ATTR_RDONLY if fixed else 0) | (MOUNT_ATTR_NODEV if idmap else 0)
        userns = await namespaces.user(idmap)
        try:
            return await in_thread(mount.idmapped, folder / TREE, userns, attributes=attributes)
        finally:
            if userns is not None:
                os.close(userns)
