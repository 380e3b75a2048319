"""What a pool that is a filesystem of its own is made on: a file of the daemon's, or a block device."""

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from hutch.errors import HutchError, Invalid, NotFound
from hutch.kernel import loop, mount, run, tree
from hutch.schema.keys.base import as_bytes

GIB = 1 << 30
_LEAST = 256 << 20


def loop_file(path: Path) -> Path:
    """The file of the pool at `path`: DIR/disks/NAME.img, as LXD has it."""
    return path.parent.parent / "disks" / f"{path.name}.img"


def size(wanted: str, path: Path) -> str:
    """The size of a pool's file: as wanted, or a fifth of the free space but 5 GiB to 30 GiB. Blocks."""
    there = shutil.disk_usage(next(folder for folder in path.parents if folder.is_dir()))
    if not wanted:
        return f"{min(max(there.free // 5 // GIB, 5), 30)}GiB"
    if as_bytes(wanted) < _LEAST:
        raise Invalid(f"the size {wanted} of storage pool {path.name} is too small: at least 256MiB are needed")
    if as_bytes(wanted) > there.total:
        raise Invalid(f"the size {wanted} of storage pool {path.name} is larger than the disk that is to hold it")
    return wanted


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

    async def expect_free(self, wipe: bool) -> None:
        """Invalid when something is kept there already that is not to be erased."""
        if not await asyncio.to_thread(self.path.is_block_device):
            if await asyncio.to_thread(self.path.exists):
                raise Invalid(
                    f"the file {self.path} of an earlier pool is still there: remove it, or give another name"
                )
        elif (found := await self._tag("TYPE")) and not wipe:
            raise Invalid(
                f"the block device {self.path} holds a {found} already: set source.wipe=true to erase it, or give another"
            )

    async def make(self, size: int, label: str, wipe: bool = False) -> None:
        """Put an empty filesystem on it; a file (when `size` is given) appears under its name once that is done."""
        if not size:
            await self._mkfs(self.path, label, force=wipe)
            return
        try:
            await asyncio.to_thread(_sparse, self.draft, size)
            await self._mkfs(self.draft, label)
            await asyncio.to_thread(tree.publish, self.draft, self.path)
        finally:
            await asyncio.to_thread(self.draft.unlink, missing_ok=True)

    async def remove(self, size: int) -> None:
        """Remove the file, or the filesystem from the device; what is not of this pool stays."""
        await asyncio.to_thread(self.draft.unlink, missing_ok=True)
        if await self._tag("UUID") not in ("", self.id):
            return
        if size:
            await asyncio.to_thread(self.path.unlink, missing_ok=True)
        elif await asyncio.to_thread(self.path.exists):
            await run.run(["wipefs", "--all", "--types", self.fstype, self.path])

    async def _tag(self, name: str) -> str:
        # blkid answers 2 when it finds nothing, or no file.
        return (await run.run(["blkid", "-p", "-o", "value", "-s", name, str(self.path)], ok=(0, 2))).strip()

    async def grow(self, size: int, target: Path) -> None:
        """Make the file, and the filesystem in it that is mounted at `target`, `size` bytes large."""
        await asyncio.to_thread(os.truncate, self.path, size)
        with mount.closing(await asyncio.to_thread(loop.attach, self.path)) as device:
            await asyncio.to_thread(loop.grown, device)
        await run.run([self.fstype, "filesystem", "resize", "max", str(target)])

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
                made = mount.new(self.fstype, source, [(key, value if sep else None) for key, sep, value in pairs])
            except OSError as error:
                raise HutchError(f"{source} cannot be mounted as {self.fstype}: {error.strerror}") from error
            with mount.closing(made):
                mount.attach(made, target)


def _sparse(path: Path, size: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(size)
