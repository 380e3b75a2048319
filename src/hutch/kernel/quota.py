"""Project quotas of ext4 and xfs: a limit on what a tree of files takes, wherever it lies on its filesystem."""

import ctypes
import errno
import fcntl
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from hutch.kernel import tree
from hutch.kernel.mount import closing
from hutch.kernel.syscalls import syscall

_QUOTACTL_FD, _PRJQUOTA = 443, 2
_Q_GETQUOTA, _Q_SETQUOTA, _QIF_BLIMITS = 0x800007, 0x800008, 1
_DQBLK = struct.Struct("=8QI4x")  # if_dqblk: hard and soft limit in KiB, bytes used, three of inodes, two times, valid
_FS_IOC_FSGETXATTR, _FS_IOC_FSSETXATTR, _PROJINHERIT = 0x801C581F, 0x401C5820, 0x200
_FSXATTR = struct.Struct("=5I8s")  # fsxattr: flags, extent size, extents, project, CoW extent size
_ABSENT = {errno.ESRCH, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT}


@dataclass(frozen=True)
class Limit:
    """Bytes; 0 is no limit."""

    limit: int
    used: int


def supported(path: Path) -> bool:
    """Whether the filesystem of `path` is mounted with project quotas in force."""
    try:
        _call(path, _Q_GETQUOTA, 0, _DQBLK.pack(*[0] * 9))
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise
    return True


def get(path: Path, project: int) -> Limit:
    """The limit and the use of a project on the filesystem of `path`."""
    try:
        fields = _DQBLK.unpack(_call(path, _Q_GETQUOTA, project, _DQBLK.pack(*[0] * 9)))
    except FileNotFoundError:
        return Limit(0, 0)
    return Limit(fields[0] * 1024, fields[2])


def limit(path: Path, project: int, size: int) -> None:
    """Let the project take `size` bytes on the filesystem of `path`; 0 for no limit."""
    kib = (size + 1023) // 1024
    _call(path, _Q_SETQUOTA, project, _DQBLK.pack(kib, kib, 0, 0, 0, 0, 0, 0, _QIF_BLIMITS))


def _call(path: Path, command: int, project: int, data: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(data, len(data))
    with closing(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as descriptor:
        syscall(_QUOTACTL_FD, descriptor, command << 8 | _PRJQUOTA, project, buffer, what=f"quota on {path}")
    return buffer.raw


def put(root: Path, project: int) -> None:
    """Count a tree under the project, and what is made in it later."""
    for path in tree.walk(root):
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            continue
        with closing(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)) as descriptor:
            flags, extent, extents, _, cow, pad = _FSXATTR.unpack(
                fcntl.ioctl(descriptor, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))
            )
            inherit = _PROJINHERIT if stat.S_ISDIR(mode) else 0
            fcntl.ioctl(
                descriptor, _FS_IOC_FSSETXATTR, _FSXATTR.pack(flags | inherit, extent, extents, project, cow, pad)
            )
