"""Trees of files on disk: made durable, moved into place, copied and removed as a whole. Everything that waits blocks."""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from hutch.kernel import mount, run
from hutch.kernel.syscalls import libc

_AT_FDCWD, _RENAME_NOREPLACE, _RENAME_EXCHANGE = -100, 1, 2


def publish(source: Path, target: Path) -> None:
    """Rename, durable on return; FileExistsError when `target` is there, even as an empty folder."""
    _rename(source, target, _RENAME_NOREPLACE)
    sync(target.parent)


def exchange(one: Path, other: Path) -> None:
    """Let two names change places in one step, durable on return."""
    _rename(one, other, _RENAME_EXCHANGE)
    sync(other.parent)


def _rename(source: Path, target: Path, flags: int) -> None:
    libc("renameat2", _AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags, what=str(target))


DRAFT = ".new"
"""What the name of a file that `write` has not finished ends with."""


def write(path: Path, text: str) -> None:
    """Put the text under the name in one step, durable on return: after a crash the file is the old or the new one."""
    draft = path.with_name(path.name + DRAFT)
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a file or folder itself durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(path: Path) -> None:
    """Make everything on the filesystem of `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc("syncfs", descriptor, what=f"syncfs {path}")
    finally:
        os.close(descriptor)


async def copy(source: Path, target: Path) -> None:
    """Copy a folder to a new name with all that belongs to its files: owners, times, links, attributes, ACLs, holes.

    Blocks are shared where the filesystem can; other filesystems mounted in it are left out.
    """
    options = ["--archive", "--reflink=auto", "--one-file-system", "--no-target-directory"]
    await run.run(["cp", *options, str(source), str(target)], deadline=None)


async def remove(path: Path) -> None:
    """Remove a file or tree without entering other filesystems that are mounted in it."""
    await run.run(["rm", "-rf", "--one-file-system", path], deadline=None, repeatable=True)


async def drop(path: Path) -> None:
    """Remove a tree that may be a mount of its own, in use or not."""
    await asyncio.to_thread(mount.detach, path)
    await remove(path)


async def usage(paths: Iterable[Path]) -> int:
    """Bytes that the trees take on disk, shared blocks of hard links counted once."""
    folders = [str(path) for path in paths]
    if not folders:
        return 0
    text = await run.run(["du", "-sxc", "--block-size=1", "--", *folders], deadline=None)
    return int(text.splitlines()[-1].split()[0])


def walk(root: Path) -> Iterator[Path]:
    """`root` and everything below it on the same filesystem, links not followed."""
    yield root
    device = root.lstat().st_dev
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if os.lstat(os.path.join(folder, name)).st_dev == device]  # noqa: PTH118
        for name in (*folders, *files):
            yield Path(folder, name)


def like(pattern: Path, folder: Path) -> None:
    """Give a folder the mode, owner, times and extended attributes (so the ACLs) of another, without overlay's own."""
    status = pattern.stat()
    os.chown(folder, status.st_uid, status.st_gid)
    wanted = _xattrs(pattern)
    for name in _xattrs(folder).keys() - wanted.keys():
        os.removexattr(folder, name)
    for name, value in wanted.items():
        os.setxattr(folder, name, value)
    folder.chmod(status.st_mode & 0o7777)
    os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))


def alike(one: Path, other: Path) -> bool:
    """Whether two folders have the same mode, owner and extended attributes."""
    first, second = one.stat(), other.stat()
    fields = ("st_mode", "st_uid", "st_gid")
    return all(getattr(first, f) == getattr(second, f) for f in fields) and _xattrs(one) == _xattrs(other)


def _xattrs(path: Path) -> dict[str, bytes]:
    # Overlay shows a guest's own trusted.overlay.x as that and keeps it as trusted.overlay.overlay.x.
    own = ("trusted.overlay.", "trusted.overlay.overlay.")
    names = [name for name in os.listxattr(path) if not name.startswith(own[0]) or name.startswith(own[1])]
    return {name: os.getxattr(path, name) for name in names}


def drop_xattrs(root: Path, names: Iterable[str]) -> None:
    """Take the named extended attributes from everything in a tree."""
    unwanted = set(names)
    for path in walk(root):
        for name in unwanted.intersection(os.listxattr(path, follow_symlinks=False)):
            with contextlib.suppress(FileNotFoundError):
                os.removexattr(path, name, follow_symlinks=False)


def fstype(path: Path) -> str:
    """The type of the filesystem that holds `path`, as mountinfo names it."""
    with contextlib.suppress(KeyError):
        return _MAGIC[_statfs_type(path)]
    return "unknown"


_MAGIC = {
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x01021994: "tmpfs",
    0x794C7630: "overlay",
    0x6969: "nfs",
    0x2FC12FC1: "zfs",
    0xF2F52010: "f2fs",
    0xCA451A4E: "bcachefs",
}


def _statfs_type(path: Path) -> int:
    buffer = (ctypes.c_long * 32)()
    libc("statfs", os.fsencode(path), buffer, what=f"statfs {path}")
    return int(buffer[0]) & 0xFFFF_FFFF
