"""Overlay pools, on any filesystem: an image is a layer shared by its instances, and each has a writable one on top."""

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hutch.errors import Conflict, HutchError, NotFound, Unsupported
from hutch.kernel import credentials, mount, namespaces, overlay, tree
from hutch.kernel.idmap import IdMap, default
from hutch.kernel.mount import MOUNT_ATTR_NODEV, MOUNT_ATTR_RDONLY
from hutch.kernel.overlay import UPPER, WORK
from hutch.kernel.tree import fstype
from hutch.schema.base import Config
from hutch.storage import layers, merge, quotas, shared, source
from hutch.storage.base import Fill, Piece, Volume
from hutch.storage.folder import FolderPool, describe, in_thread, plain
from hutch.storage.layers import EMPTY, Layers, Stack
from hutch.storage.shared import Shared

# What overlay notes on a writable layer about its lowers' inodes or the mount: false in a copy.
_NOTES = tuple(f"trusted.overlay.{name}" for name in ("origin", "impure", "nlink", "uuid"))
_LAYER = "layer"


class Driver(FolderPool):
    """Creating, copying and restoring name layers and copy no file; a snapshot of a volume in use copies its own files.

    Overlay's two departures from other filesystems are met by guests: renaming a folder that a lower layer has answers
    EXDEV (mv then copies), and writing to one name of a hard link of a lower layer parts it from the others.
    """

    copies_at_once = True
    folders = (*FolderPool.folders, "layers")

    def __init__(self, name: str, path: Path, config: Config) -> None:
        super().__init__(name, path, config)
        self.layers = Layers(self.root, self.trash)
        self.shared = Shared(self.path / "shared")

    @classmethod
    async def check(cls, config: Config, path: Path) -> Config:
        return await in_thread(source.folder, "overlay", config, path)

    async def create(self) -> None:
        await super().create()
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(self.destroy)
            await self._try_a_mount()
            undo.pop_all()

    async def activate(self) -> None:
        await super().activate()
        await self._try_a_mount()

    def _lay_out(self) -> None:
        super()._lay_out()
        if not self.layers.path(EMPTY).exists():
            self.layers.make(self.layers.path(EMPTY))

    async def _try_a_mount(self) -> None:
        """Unsupported when the kernel or the filesystem cannot do what this driver needs."""
        try:
            async with self.building() as new:
                await self.populate(new, None, None)
                stack = await in_thread(layers.read, new)
                with mount.closing(await self._mount(stack, default())) as tree:
                    await credentials.as_root_of(default(), os.mkdir, "try", 0o755, dir_fd=tree)
                    used = await in_thread(self.layers.busy, stack)
                self.layers.sees_use = used and not await in_thread(self.layers.busy, stack)
        except (OSError, HutchError) as error:
            kind = await in_thread(fstype, self.root)
            raise Unsupported(
                f"overlay mounts with shifted ids do not work on {kind} at {self.root} with this kernel ({error}); "
                "use ext4, xfs or btrfs there, or a pool of the driver dir"
            ) from error

    async def destroy(self) -> None:
        await in_thread(self.shared.close)
        await super().destroy()

    async def collect(self) -> None:
        await in_thread(self.layers.collect)
        await super().collect()

    def _publish(self, new: Path, volume: Volume) -> None:
        with self.layers.lock:  # A stack that moves while they are listed could be missed.
            super()._publish(new, volume)

    async def populate(self, new: Path, image: str | None, fill: Fill | None) -> None:
        if image is not None:
            await in_thread(self._stack_on_image, new, image)
            return
        files = await in_thread(self.layers.make, new / _LAYER)
        if fill is not None:
            await fill(files)
        await in_thread(self._adopt_top, new, (EMPTY,))

    def _stack_on_image(self, new: Path, image: str) -> None:
        with self.layers.lock:
            folder = self.folder(Volume("image", "", image))
            if not folder.is_dir():
                raise NotFound(f"the image {image} is not on pool {self.name}")
            self.layers.write_over(new, layers.read(folder).lowers)

    def _adopt_top(self, new: Path, lowers: tuple[str, ...]) -> None:
        with self.layers.lock:
            layers.write(new, Stack(lowers, self.layers.adopt(new / _LAYER)))

    async def populate_image(self, new: Path, fingerprint: str, fill: Fill) -> None:
        if await in_thread(self._reuse, new, fingerprint):
            return
        await fill(await in_thread(self.layers.make, new / _LAYER))
        await in_thread(tree.sync_all, self.root)
        await in_thread(self._adopt_image, new, fingerprint)

    def _reuse(self, new: Path, fingerprint: str) -> bool:
        """Whether instances of an image that was deleted still keep its layer."""
        with self.layers.lock:
            if not self.layers.path(fingerprint).is_dir():
                return False
            layers.write(new, Stack((fingerprint,)))
            return True

    def _adopt_image(self, new: Path, fingerprint: str) -> None:
        with self.layers.lock:
            with contextlib.suppress(FileExistsError):
                self.layers.adopt(new / _LAYER, fingerprint)
            layers.write(new, Stack((fingerprint,)))

    async def _shorten(self, volume: Volume) -> None:
        """Merge the layers of a volume that has many and is not in use."""
        await self._let_go(volume)
        folder = await in_thread(self.find, volume)
        stack = await in_thread(layers.read, folder)
        if len(stack.lowers) < layers.DEEP or not stack.top or not self.layers.sees_use:
            return
        if await in_thread(self.layers.busy, stack):
            return
        async with self.building() as new:
            files = await in_thread(self.layers.make, new / _LAYER)
            await in_thread(merge.merge, [self.layers.tree(name) for name in stack.lowers[1:]], files)
            await in_thread(self._put_merged, folder, stack, new / _LAYER)

    def _put_merged(self, folder: Path, stack: Stack, built: Path) -> None:
        with self.layers.lock:
            if not self.layers.busy(stack):
                layers.write(folder, Stack((stack.lowers[0], self.layers.adopt(built)), stack.top))

    async def clone(self, source: Volume, new: Path) -> None:
        await self._shorten(source)
        if not await in_thread(self._clone_settled, source, new):
            lowers = await self._copy_top(source, new)
            await in_thread(self._adopt_top, new, lowers)

    def _clone_settled(self, source: Volume, new: Path) -> bool:
        with self.layers.lock:
            lowers = self.layers.settle(self.find(source))
            if lowers is not None:
                self.layers.write_over(new, lowers)
            return lowers is not None

    async def freeze(self, source: Volume, new: Path) -> None:
        await self._shorten(source)
        if not await in_thread(self._freeze_settled, source, new):
            lowers = await self._copy_top(source, new)
            await in_thread(self._adopt_frozen, new, lowers)

    def _freeze_settled(self, source: Volume, new: Path) -> bool:
        with self.layers.lock:
            lowers = self.layers.settle(self.find(source))
            if lowers is not None:
                layers.write(new, Stack(lowers))
            return lowers is not None

    def _adopt_frozen(self, new: Path, lowers: tuple[str, ...]) -> None:
        with self.layers.lock:
            layers.write(new, Stack((*lowers, self.layers.adopt(new / _LAYER))))

    async def _copy_top(self, source: Volume, new: Path) -> tuple[str, ...]:
        """Copy the writable layer of a volume in use to `new`; the layers that belong under it."""
        stack = await in_thread(self._keep_lowers, source, new)
        files = await in_thread(self.layers.make, new / _LAYER)
        await in_thread(files.rmdir)
        await tree.copy(self.layers.tree(stack.top), files)
        await in_thread(tree.drop_xattrs, files, _NOTES)
        return stack.lowers

    def _keep_lowers(self, source: Volume, new: Path) -> Stack:
        with self.layers.lock:
            stack = layers.read(self.find(source))
            layers.write(new, Stack(stack.lowers))
            return stack

    async def delete(self, volume: Volume) -> None:
        await self._let_go(volume)
        await super().delete(volume)

    async def rename(self, volume: Volume, name: str) -> None:
        await self._let_go(volume)
        await super().rename(volume, name)

    async def restore(self, volume: Volume, snapshot: str) -> None:
        await self._let_go(volume)
        with self.space_errors():
            await in_thread(self._restore, volume, snapshot)
        await self.collect()

    def _restore(self, volume: Volume, snapshot: str) -> None:
        with self.layers.lock:
            folder = self.find(volume)
            if self.layers.busy(layers.read(folder)):
                raise Conflict(f"{describe(volume)} is in use: it must be stopped before a snapshot is restored")
            self.layers.write_over(folder, layers.read(self.find(volume.at(snapshot))).lowers)

    async def pieces(self, volume: Volume) -> list[tuple[Piece, Path]]:
        stack = await in_thread(lambda: layers.read(self.find(volume)))
        return [(Piece(name, await in_thread(self.layers.image, name)), self.layers.tree(name)) for name in stack.all]

    async def assemble(
        self, volume: Volume, pieces: Sequence[Piece], snapshots: Mapping[str, Sequence[Piece]]
    ) -> dict[str, Path]:
        if len(pieces) < 2:
            raise Unsupported(f"the volume does not come in layers, which pool {self.name} (overlay) keeps")
        await in_thread(self._expect_free, volume)
        wanted: dict[str, Path] = {}
        async with self.building() as new:
            await in_thread(self._assemble, new, pieces, snapshots, wanted)
            await self.publish(new, volume)
        return wanted

    def _assemble(
        self, new: Path, pieces: Sequence[Piece], snapshots: Mapping[str, Sequence[Piece]], wanted: dict[str, Path]
    ) -> None:
        with self.layers.lock:
            lowers = tuple(self.layers.stand_in(piece.name, piece.image, wanted) for piece in pieces[:-1])
            layers.write(new, Stack(lowers, self.layers.stand_in(pieces[-1].name, "", wanted, fresh=True)))
            for name, kept in snapshots.items():
                folder = new / "snapshots" / plain(name)
                folder.mkdir(parents=True)
                layers.write(folder, Stack(tuple(self.layers.stand_in(each.name, each.image, wanted) for each in kept)))

    async def assembled(self, written: Iterable[Path]) -> None:
        await in_thread(self.layers.whole, written)

    async def mount(self, volume: Volume, idmap: Sequence[IdMap], *, readonly: bool = False) -> int:
        stack = await in_thread(lambda: layers.read(self.find(volume)))
        if readonly:  # The writable layer may be that of a live mount, whose work folder is nobody else's to touch.
            stack = Stack(stack.all)
        return await self._mount(stack, idmap)

    async def share(self, volume: Volume, idmap: Sequence[IdMap], *, readonly: bool = False) -> int:
        async def first() -> int:
            return await self.mount(volume, idmap)

        made = await self.shared.clone(shared.label(volume), idmap, first)
        if readonly:
            await in_thread(mount.setattr, made, set=MOUNT_ATTR_RDONLY)
        return made

    async def _let_go(self, volume: Volume) -> None:
        """End the common mount of a volume that no guest has mounted any more."""
        if not volume.snapshot and await in_thread(self.shared.let_go, shared.label(volume)):
            await in_thread(self._wait_for_rest, volume)

    def _wait_for_rest(self, volume: Volume) -> None:
        # The kernel takes a detached mount down a moment later.
        for _ in range(100):
            if not self.layers.sees_use or not self.layers.busy(layers.read(self.find(volume))):
                return
            time.sleep(0.01)

    async def _mount(self, stack: Stack, idmap: Sequence[IdMap], attributes: int = 0) -> int:
        userns = await namespaces.user(idmap)
        try:
            attributes |= MOUNT_ATTR_NODEV if idmap else 0
            return await credentials.as_root_of(idmap, self._make_mount, stack, userns, attributes)
        finally:
            if userns is not None:
                os.close(userns)

    def _make_mount(self, stack: Stack, userns: int | None, attributes: int) -> int:
        """Runs as the guest's root."""
        if not stack.top and len(stack.lowers) == 1:
            return mount.idmapped(self.layers.tree(stack.lowers[0]), userns, attributes=attributes | MOUNT_ATTR_RDONLY)
        with contextlib.ExitStack() as trees:
            lowers = [self._tree(trees, self.layers.tree(name), userns) for name in stack.lowers]
            writable = self._tree(trees, self.layers.path(stack.top), userns) if stack.top else None
            return overlay.overlay(lowers, writable, attributes=attributes | (0 if stack.top else MOUNT_ATTR_RDONLY))

    def _tree(self, trees: contextlib.ExitStack, path: Path, userns: int | None) -> int:
        return trees.enter_context(mount.closing(mount.idmapped(path, userns)))

    async def usage(self, volume: Volume) -> int:
        return await tree.usage(await in_thread(self._own_layers, volume))

    def _own_layers(self, volume: Volume) -> list[Path]:
        """The layers that only this volume, with its snapshots, or only this snapshot needs; never those of images."""
        own = self.find(volume)
        mine = layers.read(own)
        names = {name for name in mine.lowers if not _is_shared(name)}
        if names:
            with self.layers.lock:
                names -= {name for at, stack in self.layers.users() if not at.is_relative_to(own) for name in stack.all}
        return [self.layers.path(name) for name in (*names, mine.top) if name]

    async def set_quota(self, volume: Volume, size: int) -> None:
        await in_thread(self._set_quota, self.folder(volume), size)

    def _set_quota(self, folder: Path, size: int) -> None:
        top = self.layers.path(layers.read(folder).top)
        quotas.set_limit(folder, [top / UPPER, top / WORK], size)


def _is_shared(layer: str) -> bool:
    """Whether the layer is an image's, which is named by its fingerprint, or the empty one."""
    return layer == EMPTY or len(layer) == 64
