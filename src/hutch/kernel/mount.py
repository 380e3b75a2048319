"""Mounts by descriptor: made detached, shifted, and attached last, so that a half-made one is never seen.

Everything here blocks; callers run it in a thread.
"""

import contextlib
import ctypes
import errno
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hutch.kernel.syscalls import libc, syscall

_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_SET_FD, FSCONFIG_CMD_CREATE = 0, 1, 5, 6
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 0x1, 0x2, 0x4, 0x8
MOUNT_ATTR_IDMAP = 0x0010_0000
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x20, 0x1000, 0x4000, 1 << 18, 1 << 19, 1 << 20
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8


def open_tree(path: Path | int, *, recursive: bool = False) -> int:
    """A detached copy of the mount at `path` (or behind a descriptor), with its submounts when `recursive`.

    Closing the descriptor of a tree that was never attached unmounts it.
    """
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    if isinstance(path, int):
        return syscall(_OPEN_TREE, path, b"", flags | AT_EMPTY_PATH, what=f"open_tree of descriptor {path}")
    return syscall(_OPEN_TREE, AT_FDCWD, os.fsencode(path), flags, what=f"open_tree {path}")


def setattr(
    target: Path | int, *, set: int = 0, clear: int = 0, propagation: int = 0, userns: int = 0, recursive: bool = False
) -> None:
    """Change a mount's attributes (MOUNT_ATTR_*), propagation (MS_*) or, while it is detached, its id map."""
    attributes = struct.pack("=QQQQ", set, clear, propagation, userns)
    flags = AT_RECURSIVE if recursive else 0
    if isinstance(target, int):
        where, name, flags = target, b"", flags | AT_EMPTY_PATH
    else:
        where, name = AT_FDCWD, os.fsencode(target)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    syscall(_MOUNT_SETATTR, where, name, flags, buffer, len(attributes), what=f"mount_setattr {target}")


def idmapped(source: Path | int, userns: int | None, *, attributes: int = 0, recursive: bool = False) -> int:
    """A detached copy of `source` with ids shifted by the user namespace (None: as stored) and MOUNT_ATTR_* set."""
    tree = open_tree(source, recursive=recursive)
    try:
        if userns is not None:
            setattr(tree, set=attributes | MOUNT_ATTR_IDMAP, userns=userns, recursive=recursive)
        elif attributes:
            setattr(tree, set=attributes, recursive=recursive)
    except BaseException:
        os.close(tree)
        raise
    return tree


def attach(tree: int, path: Path | int) -> None:
    """Put a detached mount at `path` (a path, or a descriptor of a directory or file). Does not close `tree`."""
    if isinstance(path, int):
        flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
        syscall(_MOVE_MOUNT, tree, b"", path, b"", flags, what=f"move_mount to descriptor {path}")
    else:
        target = os.fsencode(path)
        syscall(_MOVE_MOUNT, tree, b"", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH, what=f"move_mount to {path}")


def detach(path: Path) -> bool:
    """Take away every mount stacked at `path`, at once and also while in use; false when there was none."""
    found = False
    while True:
        try:
            libc("umount2", os.fsencode(path), MNT_DETACH | UMOUNT_NOFOLLOW, what=f"umount {path}")
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return found
            raise
        found = True


def bind(source: Path, target: Path, *, recursive: bool = False, attributes: int = 0) -> None:
    """The tree at `source` also at `target`."""
    with closing(idmapped(source, None, recursive=recursive, attributes=attributes)) as tree:
        attach(tree, target)


Options = Sequence[tuple[str, str | int | None]]
"""Mount options in order: text, a descriptor (int), or a flag (None)."""


def new(fstype: str, source: str = "none", options: Options = (), attributes: int = 0) -> int:
    """A detached new mount of a filesystem; the kernel's own message about a refused option is in the OSError."""
    with closing(syscall(_FSOPEN, fstype.encode(), 1, what=f"fsopen {fstype}")) as context:
        try:
            _set(context, "source", source)
            for key, value in options:
                _set(context, key, value)
            syscall(_FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)
            return syscall(_FSMOUNT, context, 1, attributes)
        except OSError as error:
            reason = _messages(context) or os.strerror(error.errno or 0)
            raise OSError(error.errno, reason, f"mount of {fstype}") from None


def _set(context: int, key: str, value: str | int | None) -> None:
    name = key.encode()
    if value is None:
        syscall(_FSCONFIG, context, FSCONFIG_SET_FLAG, name, None, 0)
    elif isinstance(value, int):
        syscall(_FSCONFIG, context, FSCONFIG_SET_FD, name, None, value)
    else:
        syscall(_FSCONFIG, context, FSCONFIG_SET_STRING, name, os.fsencode(value), 0)


def _messages(context: int) -> str:
    lines = []
    with contextlib.suppress(OSError):
        while line := os.read(context, 4096):
            lines.append(line.decode(errors="replace").strip()[2:])
    return "; ".join(lines)


def classic(fstype: str, source: str, target: Path, flags: int = 0, data: str = "") -> None:
    """mount(2), for what the newer calls of an older kernel cannot do."""
    arguments = (source.encode(), os.fsencode(target), fstype.encode(), ctypes.c_ulong(flags), os.fsencode(data))
    libc("mount", *arguments, what=f"mount of {fstype} at {target}")


def propagation(path: Path, kind: int, *, recursive: bool = True) -> None:
    """Make the mount at `path` private, slave or shared (MS_PRIVATE, MS_SLAVE, MS_SHARED)."""
    libc("mount", None, os.fsencode(path), None, ctypes.c_ulong(kind | (MS_REC if recursive else 0)), None)


@contextlib.contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """The descriptor, closed at the end; a detached mount that was not attached is gone then."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo. `root` is the folder of the filesystem that is seen at `path`, `device` the filesystem's number."""

    id: int
    parent: int
    root: str
    path: Path
    options: str
    fstype: str
    source: str
    super_options: str
    device: str = ""


def mounts(pid: int | str = "self") -> list[Mount]:
    """The mounts a process sees, in the order they were stacked: of two at one path the later one covers the earlier."""
    return [_parse(line) for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]


def _parse(line: str) -> Mount:
    # proc_pid_mountinfo(5): id parent major:minor root path options [optional ...] - fstype source super-options
    front, _, back = line.partition(" - ")
    words = front.split(" ")
    fstype, source, super_options = back.split(" ", 2)
    path = Path(unescape(words[4]))
    place = (int(words[0]), int(words[1]), unescape(words[3]), path)
    return Mount(*place, words[5], fstype, unescape(source), super_options, device=words[2])


def unescape(text: str) -> str:
    """Text of mountinfo, where blank, tab, newline and backslash are octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def below(path: Path) -> list[Mount]:
    """The mounts at `path` and under it, innermost first: the order in which they can be taken away."""
    return [mount for mount in reversed(mounts()) if mount.path.is_relative_to(path)]


def is_mounted(path: Path) -> bool:
    return any(mount.path == path for mount in mounts())
