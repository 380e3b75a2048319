"""What a pool that is a filesystem of its own is made on: a file of the daemon's, or a block device."""

import asyncio
import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from hutch.errors import HutchError, Invalid, NotFound
from hutch.kernel import loop, mount, run
from hutch.schema.keys.base import as_bytes

GIB = 1 << 30
_LEAST = 256 << 20


def loop_file(path: Path) -> Path:
    """The file of the pool at `path`: DIR/disks/NAME.img, as LXD has it."""
    return path.parent.parent / "disks" / f"{path.name}.img"


def size(wanted: str, path: Path) -> str:
    """The size of a pool's file: as wanted, or a fifth of the free space but 5 GiB to 30 GiB. Blocks."""
    if wanted:
        if as_bytes(wanted) < _LEAST:
            raise Invalid(f"the size {wanted} of storage pool {path.name} is too small: at least 256MiB are needed")
        return wanted
    there = next(folder for folder in path.parents if folder.is_dir())
    return f"{min(max(shutil.disk_usage(there).free // 5 // GIB, 5), 30)}GiB"


@dataclass(frozen=True)
class Disk:
    """A file or a block device with, or for, a filesystem of type `fstype` and identity `id`."""

    path: Path
    fstype: str
    id: str

    @property
    def draft(self) -> Path:
        """Where a file is until it has its filesystem."""
        return self.path.with_name(f"{self.path.name}.new")

    async def make(self, size: int, label: str, wipe: bool = False) -> None:
        """Put an empty filesystem on it; a file (when `size` is given) appears under its name once that is done."""
        if not size:
            await self._refuse_used(wipe)
            await self._mkfs(self.path, label, force=wipe)
            return
        if await asyncio.to_thread(self.path.exists):
            raise Invalid(f"the file {self.path} of an earlier pool is still there: remove it, or give another name")
        draft = self.draft
        try:
            await asyncio.to_thread(_sparse, draft, size)
            await self._mkfs(draft, label)
            await asyncio.to_thread(draft.rename, self.path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                await asyncio.to_thread(draft.unlink)

    async def _refuse_used(self, wipe: bool) -> None:
        found = await run.run(["blkid", "-p", "-o", "value", "-s", "TYPE", self.path], ok=(0, 2))
        if found.strip() and not wipe:
            raise Invalid(
                f"the block device {self.path} holds a {found.strip()} already: set source.wipe=true to erase it, "
                "or give another"
            )

    async def _mkfs(self, target: Path, label: str, force: bool = False) -> None:
        options = ["--quiet", "--uuid", self.id, "--label", label[:100], *(["--force"] if force else [])]
        await run.run([f"mkfs.{self.fstype}", *options, str(target)], deadline=600)

    async def mount(self, target: Path, options: str) -> None:
        """Attach the filesystem at `target`, unless it is there."""
        if await asyncio.to_thread(mount.is_mounted, target):
            return
        await asyncio.to_thread(self._mount, await self._device(), target, options)

    async def _device(self) -> int:
        if await asyncio.to_thread(self.path.is_file):
            return await asyncio.to_thread(loop.attach, self.path)
        device = self.path
        if not await asyncio.to_thread(device.is_block_device):
            found = (await run.run(["blkid", "--uuid", self.id], ok=(0, 2))).strip()
            if not found:
                raise NotFound(f"no block device holds the filesystem {self.id}: is the disk {self.path} connected?")
            device = Path(found)
        return await asyncio.to_thread(os.open, device, os.O_RDWR | os.O_CLOEXEC)

    def _mount(self, device: int, target: Path, options: str) -> None:
        pairs = [option.partition("=") for option in options.split(",") if option]
        with mount.closing(device):
            target.mkdir(mode=0o711, parents=True, exist_ok=True)
            source = str(loop.name(device))
            try:
                tree = mount.new(self.fstype, source, [(key, value if sep else None) for key, sep, value in pairs])
            except OSError as error:
                raise HutchError(f"{source} cannot be mounted as {self.fstype}: {error.strerror}") from error
            with mount.closing(tree):
                mount.attach(tree, target)


def _sparse(path: Path, size: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(size)
