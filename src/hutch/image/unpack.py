"""Unpacks an image file that image.contents has found harmless, by the system's programs, confined all the same."""

import asyncio
import os
import re
from pathlib import Path

from hutch.errors import HutchError, Invalid, ToolFailed
from hutch.image.confined import Progress, confined, shown
from hutch.image.formats import Compression, recognise_file
from hutch.image.metadata import Contents
from hutch.kernel.run import stream

_DECOMPRESS = {
    Compression.GZIP: ["-I", "gzip -d"],
    Compression.BZIP2: ["-I", "bzip2 -d"],
    Compression.XZ: ["-I", "xz -d -T{threads}"],
    Compression.LZMA: ["-I", "xz -d --format=lzma"],
    Compression.ZSTD: ["-I", "zstd -d -q"],
}
TAR = (
    *("/usr/bin/tar", "--extract", "--file=-", "--numeric-owner", "--same-owner", "--preserve-permissions", "--acls"),
    # Not trusted.*, which overlay obeys, nor security.selinux and its like, which are this host's own matter.
    *("--xattrs", "--xattrs-include=user.*", "--xattrs-include=security.capability"),
    *("--delay-directory-restore", "--anchored", "--no-wildcards", "--warning=no-timestamp"),
    *("--warning=no-unknown-keyword",),
)
_MARGIN = 16 << 20
_OVERHEAD = 4096
"""Bytes and bytes an entry that a tree needs besides its files' contents; guessed, on the safe side."""


async def unpack(
    path: Path, contents: Contents, target: Path, progress: Progress | None = None, *, unified: bool
) -> None:
    """Write the image's root filesystem into the empty directory `target`, with the guest's own ids.

    `path` is the unified image, or the rootfs file of a split one. HutchError when the disk is full, Invalid when
    the file turns out to be damaged; what was written by then is the caller's to remove.
    """
    compression = await asyncio.to_thread(recognise_file, path)
    await asyncio.to_thread(check_room, contents, target)
    try:
        if compression is Compression.SQUASHFS:
            await _unsquash(path, contents, target, progress, unified=unified)
        else:
            await _untar(path, contents, target, compression, progress, unified=unified)
    except ToolFailed as error:
        raise meaning(error, target) from error
    if progress is not None:
        progress(100)


def check_room(contents: Contents, target: Path) -> None:
    """HutchError when the filesystem of `target` cannot take what the image declares."""
    disk = os.statvfs(target)
    needed = contents.size + contents.entries * _OVERHEAD + _MARGIN
    free = disk.f_bavail * disk.f_frsize
    if needed > free:
        raise HutchError(
            f"not enough space to unpack the image: it needs {needed >> 20} MiB, {target} has {free >> 20} MiB free"
        )
    if disk.f_files and contents.entries > disk.f_favail:
        raise HutchError(
            f"not enough inodes to unpack the image: it has {contents.entries} files, {target} has room for {disk.f_favail}"
        )


async def _untar(
    path: Path, contents: Contents, target: Path, compression: Compression, progress: Progress | None, *, unified: bool
) -> None:
    command = [*TAR, *decompressor(compression)]
    command += [f"--exclude={node}" for node in contents.nodes]
    if unified:
        command += ["--directory=/stage", f"{contents.prefix}rootfs"]
    else:
        command += ["--directory=/stage/rootfs"]
    with path.open("rb") as file, shown(file.fileno(), progress):
        async with stream(confined(path, target, *command), stdin=file.fileno(), env={"LC_ALL": "C"}):
            pass


async def _unsquash(path: Path, contents: Contents, target: Path, progress: Progress | None, *, unified: bool) -> None:
    command = ["/usr/bin/unsquashfs", "-force", "-no-progress", "-no-wildcards", "-processors", str(_threads())]
    command += ["-dest", "/stage" if unified else "/stage/rootfs"]
    if contents.nodes:
        command += ["-ex", *contents.nodes, ";"]
    operands = ["/archive", *(["rootfs"] if unified else [])]
    total, done = max(contents.entries, 1), 0
    try:
        async with stream(confined(path, target, *command, "-info", *operands)) as process:
            assert process.stdout is not None
            while chunk := await process.stdout.read(1 << 16):
                done += chunk.count(b"\n")
                if progress is not None:
                    progress(min(99, done * 100 // total))
    except ToolFailed as error:
        if not _FOREIGN_XATTR.search(error.stderr.encode()):
            raise
        await _unsquash_without_xattrs(path, target, [*command, "-quiet", "-ignore-errors", *operands])


_FOREIGN_XATTR = re.compile(
    rb"failed to write xattr (trusted|security)\.\S+ for file .* because Operation not permitted"
)


async def _unsquash_without_xattrs(path: Path, target: Path, command: list[str]) -> None:
    """Over again for an image with trusted.* or security labels, which belong to the host it was made on.

    unsquashfs before 4.6 cannot be told to leave them out: it goes on past errors, and every one of them is looked at.
    """
    both = ["/usr/bin/sh", "-c", 'exec "$@" 2>&1', "sh", *command]
    async with stream(confined(path, target, *both), ok=(0, 2)) as process:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.strip() and not _FOREIGN_XATTR.search(line):
                raise ToolFailed(command, 1, line.decode(errors="replace"))


def decompressor(compression: Compression) -> list[str]:
    """The options by which tar reads an archive so compressed."""
    return [word.format(threads=_threads()) for word in _DECOMPRESS.get(compression, [])]


def _threads() -> int:
    return len(os.sched_getaffinity(0))


def meaning(error: ToolFailed, target: Path, what: str = "image") -> HutchError:
    """What a program that unpacks failed with, in a sentence."""
    lines = error.stderr.splitlines()
    for line in lines:
        if "No space left on device" in line or "Disk quota exceeded" in line:
            return HutchError(f"no space left in {target} while unpacking the {what}")
    said = next((line for line in lines if not line.startswith(("Parallel", "\n"))), f"status {error.code}")
    return Invalid(f"the {what} cannot be unpacked: {said.strip()}")
