"""Btrfs pools: every volume, snapshot and image is a subvolume, made from another in an instant."""

import asyncio
import contextlib
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from hutch.errors import HutchError, Invalid, NotFound, Unsupported
from hutch.kernel import btrfs, mount, run, tree
from hutch.schema.base import Config
from hutch.schema.keys import pool as keys
from hutch.schema.keys.base import as_bool, as_bytes, check_all
from hutch.storage import disk, source
from hutch.storage.base import Volume
from hutch.storage.disk import Disk
from hutch.storage.folder import in_thread
from hutch.storage.trees import TREE, TreePool

_UUID = "volatile.uuid"


class Driver(TreePool):
    """On a file of its own (no source), a block device, or an empty folder of a btrfs that is mounted already."""

    copies_at_once = True

    def place(self) -> Path:
        return self.path if _UUID in self.config else Path(self.config["source"])

    @property
    def disk(self) -> Disk | None:
        """What the pool is mounted from; None when it is a folder of somebody's btrfs."""
        return _disk(self.config)

    @property
    def _size(self) -> int:
        return as_bytes(self.config["size"]) if self.config.get("size") else 0

    @classmethod
    async def check(cls, config: Config, path: Path) -> Config:
        check_all(f"storage pool {path.name}", config, keys.pool("btrfs"), free=keys.FREE)
        complete = await in_thread(_complete, config, path)
        if disk := _disk(complete):
            await disk.expect_free(as_bool(complete.get("source.wipe")))
        return complete

    async def apply(self, wanted: Config) -> Config:
        before, after = self._size, as_bytes(wanted.get("size") or self.config.get("size") or "0")
        if self.disk is None or not before:
            if wanted.get("size"):
                raise Invalid(f"storage pool {self.name}: size is for a pool in a file")
            return wanted
        if after < before:
            raise Invalid(f"storage pool {self.name} cannot be made smaller than its {self.config['size']}")
        if after > before:
            await self.disk.grow(after, self.path)
        return {"size": self.config["size"]} | wanted

    async def create(self) -> None:
        async with contextlib.AsyncExitStack() as undo:
            if self.disk is not None:
                await self.disk.make(self._size, self.name, as_bool(self.config.get("source.wipe")))
                undo.push_async_callback(self._remove_disk)
                await self._mount()
            await super().create()
            undo.pop_all()

    async def _mount(self) -> None:
        if self.disk is not None:
            options = self.config.get("btrfs.mount_options") or "user_subvol_rm_allowed"
            await self.disk.mount(self.path, options)

    async def _remove_disk(self) -> None:
        assert self.disk is not None
        await in_thread(mount.detach, self.path)
        await self.disk.remove(self._size)
        with contextlib.suppress(FileNotFoundError):
            await in_thread(self.path.rmdir)

    async def activate(self) -> None:
        await self._mount()
        await super().activate()

    @classmethod
    async def recall(cls, config: Config, path: Path) -> Config:
        wanted = {"source": str(disk.loop_file(path))} | config
        source = Path(wanted["source"])
        if await in_thread(source.is_dir):
            return wanted
        argv = ["blkid", "-p", "-o", "value", "-s", "UUID", str(source)]
        found = (await run.run(argv, ok=(0, 2))).strip() if await in_thread(source.exists) else ""
        if not found:
            raise NotFound(f"there is no storage pool at {source}")
        size = {"size": str((await in_thread(source.stat)).st_size)} if await in_thread(source.is_file) else {}
        return {_UUID: found, "volatile.initial_source": wanted["source"]} | size | wanted

    async def recover(self) -> None:
        await self._mount()
        try:
            await super().recover()
        except NotFound:
            if self.disk is not None:
                await in_thread(mount.detach, self.path)
            raise

    async def deactivate(self) -> None:
        await super().deactivate()
        if self.disk is not None:
            await in_thread(mount.detach, self.path)

    async def destroy(self) -> None:
        if self.disk is None:
            await super().destroy()
            return
        await self.trash.close()
        await self._remove_disk()

    async def make_tree(self, path: Path) -> None:
        await in_thread(btrfs.create, path)

    async def copy_tree(self, source: Path, target: Path, *, readonly: bool = False) -> None:
        await in_thread(_copy, source, target, readonly)

    async def remove(self, path: Path) -> None:
        await in_thread(_delete_subvolumes, path)
        await tree.remove(path)

    async def restore(self, volume: Volume, snapshot: str) -> None:
        folder = await in_thread(self.find, volume)
        async with self.building() as new:
            await self.clone(volume.at(snapshot), new)
            if size := await in_thread(_limit, folder):
                await in_thread(btrfs.limit, new / TREE, size)
            await in_thread(tree.exchange, new / TREE, folder / TREE)

    stream = "btrfs-1"

    async def stream_identity(self, volume: Volume) -> str:
        """A subvolume that a guest has made subvolumes in is none of one stream."""
        path = await in_thread(self.find, volume) / TREE
        if await in_thread(btrfs.nested, path):
            return ""
        return (await in_thread(btrfs.stream_identity, path)).hex()

    @contextlib.asynccontextmanager
    async def send(self, snapshot: Volume, parent: Volume | None) -> AsyncIterator[asyncio.StreamReader]:
        argv: list[str | Path] = ["btrfs", "send", "-q"]
        if parent is not None:
            argv += ["-p", await in_thread(self.find, parent) / TREE]
        async with run.stream([*argv, await in_thread(self.find, snapshot) / TREE]) as process:
            assert process.stdout is not None
            yield process.stdout

    async def receive(self, volume: Volume, blocks: AsyncIterator[bytes]) -> None:
        async with self.building() as new:
            if volume.snapshot:
                await self._take(new, blocks)
                await self.publish(new, volume)
                return
            folder = await in_thread(self.find, volume)
            await in_thread((new / "come").mkdir)
            await self._take(new / "come", blocks)
            await self.copy_tree(new / "come" / TREE, new / TREE)
            if size := await in_thread(_limit, folder):
                await in_thread(btrfs.limit, new / TREE, size)
            await in_thread(tree.exchange, new / TREE, folder / TREE)

    async def _take(self, folder: Path, blocks: AsyncIterator[bytes]) -> None:
        """The subvolume of a stream as the folder's tree, which is what every one is called that is sent."""
        argv: list[str | Path] = ["btrfs", "receive", "-q", "-e", folder]
        async with run.stream(argv, stdin=asyncio.subprocess.PIPE) as process:
            assert process.stdin is not None
            async for block in blocks:
                process.stdin.write(block)
                await process.stdin.drain()
        if not await in_thread(btrfs.is_subvolume, folder / TREE):
            raise HutchError("the stream of the other server holds something else than a volume")

    async def usage(self, volume: Volume) -> int:
        path = await in_thread(self.find, volume) / TREE
        text = await run.run(["btrfs", "qgroup", "show", "--raw", "-f", str(path)], ok=(0, 1))
        rows = [line.split() for line in text.splitlines() if line.startswith("0/")]
        if rows:
            return int(rows[0][2])
        text = await run.run(["btrfs", "filesystem", "du", "--summarize", "--raw", str(path)], deadline=None)
        return int(text.splitlines()[-1].split()[1])

    async def set_quota(self, volume: Volume, size: int) -> None:
        folder = await in_thread(self.find, volume)
        await in_thread(self._set_quota, folder, size)

    def _set_quota(self, folder: Path, size: int) -> None:
        if size:
            btrfs.enable_quota(self.root)
        elif not _limit(folder):
            return
        tree.write(folder / "quota", f"{size}\n")
        btrfs.limit(folder / TREE, size)


def _disk(config: Config) -> Disk | None:
    return Disk(Path(config["source"]), "btrfs", config[_UUID]) if _UUID in config else None


def _complete(config: Config, path: Path) -> Config:
    if not shutil.which("btrfs"):
        raise Unsupported("the driver btrfs needs the programs of the package btrfs-progs")
    given = config.get("source", "")
    mounted = {"source": given, _UUID: str(uuid.uuid4()), "volatile.initial_source": given}
    if not given or given == str(disk.loop_file(path)):
        mounted |= {"source": str(disk.loop_file(path)), "size": disk.size(config.get("size", ""), path)}
        return config | mounted
    if config.get("size"):
        raise Invalid(f"storage pool {path.name}: size is for a pool in a file, not for one with a source")
    if Path(given).is_block_device():
        return config | mounted
    source.empty(Path(given))
    if tree.fstype(Path(given)) != "btrfs":
        raise Invalid(f"the source {given} is not on btrfs: give a folder of a btrfs, a block device, or no source")
    return config | {"volatile.initial_source": given}


def _copy(source: Path, target: Path, readonly: bool) -> None:
    btrfs.snapshot(source, target, readonly=readonly)
    if not readonly:
        btrfs.limit(target, 0)  # A snapshot takes over the limit of its source.


def _delete_subvolumes(path: Path) -> None:
    """Delete the subvolumes below a folder of the pool."""
    for folder, folders, _ in os.walk(path):
        inner = [name for name in folders if btrfs.is_subvolume(Path(folder, name))]
        folders[:] = [name for name in folders if name not in inner]
        for name in inner:
            btrfs.delete(Path(folder, name))


def _limit(folder: Path) -> int:
    try:
        return int((folder / "quota").read_text())
    except FileNotFoundError:
        return 0
