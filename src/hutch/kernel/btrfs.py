"""Subvolumes of btrfs, by ioctl. Everything here blocks."""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from hutch.kernel.mount import closing

# linux/btrfs.h. Every argument block here is 4096 bytes long unless it says otherwise.
_SUBVOL_CREATE, _SNAP_DESTROY, _SNAP_CREATE_V2 = 0x5000940E, 0x5000940F, 0x50009417
_SUBVOL_GETFLAGS, _SUBVOL_SETFLAGS = 0x80089419, 0x4008941A  # 8 bytes
_INO_LOOKUP, _GET_SUBVOL_ROOTREF, _INO_LOOKUP_USER = 0xD0009412, 0xD000943D, 0xD000943E
_GET_SUBVOL_INFO = 0x81F8943C  # 504 bytes
_QUOTA_CTL, _QGROUP_LIMIT = 0xC0109428, 0x8030942B  # 16 and 48 bytes
_SUBVOL_RDONLY = 2
_FIRST_FREE_OBJECTID = 256
_NAME_ARGS = struct.Struct("=q4088s")
_SNAP_ARGS = struct.Struct("=qQQ32x4040s")
_LOOKUP_ARGS = struct.Struct("=QQ4080s")
_REF = struct.Struct("=QQ")
_USER_ARGS = struct.Struct("=QQ256s3824s")
_UNLIMITED = 0xFFFF_FFFF_FFFF_FFFF


def create(path: Path) -> None:
    """An empty subvolume at `path`."""
    _call(path.parent, _SUBVOL_CREATE, _NAME_ARGS.pack(0, os.fsencode(path.name)))


def snapshot(source: Path, target: Path, *, readonly: bool = False) -> None:
    """A subvolume at `target` that shares what `source` holds now, with the subvolumes that were made inside it."""
    with closing(_open(source)) as descriptor:
        _call(target.parent, _SNAP_CREATE_V2, _SNAP_ARGS.pack(descriptor, 0, 0, os.fsencode(target.name)))
    for inner in nested(source):
        place = target / inner.relative_to(source)
        place.rmdir()  # A snapshot shows an empty folder where another subvolume was.
        snapshot(inner, place, readonly=readonly)
    if readonly:
        set_readonly(target, True)


def delete(path: Path) -> None:
    """Remove a subvolume and those inside it; the kernel frees the space later."""
    set_readonly(path, False)
    for inner in nested(path):
        delete(inner)
    _call(path.parent, _SNAP_DESTROY, _NAME_ARGS.pack(0, os.fsencode(path.name)))


def is_subvolume(path: Path) -> bool:
    """Whether `path`, on btrfs, is a subvolume."""
    return path.is_dir() and not path.is_symlink() and path.stat().st_ino == _FIRST_FREE_OBJECTID


def identity(path: Path) -> int:
    """The number of the subvolume."""
    answer = _call(path, _INO_LOOKUP, _LOOKUP_ARGS.pack(0, _FIRST_FREE_OBJECTID, b""))
    return int(_LOOKUP_ARGS.unpack(answer)[0])


def stream_identity(path: Path) -> bytes:
    """How a stream that builds on the subvolume names it: by what it was received as, else by its own UUID."""
    answer = _call(path, _GET_SUBVOL_INFO, bytes(504))
    own, received = bytes(answer[296:312]), bytes(answer[328:344])
    return received if any(received) else own


def set_readonly(path: Path, readonly: bool) -> None:
    (flags,) = struct.unpack("=Q", _call(path, _SUBVOL_GETFLAGS, bytes(8)))
    wanted = flags | _SUBVOL_RDONLY if readonly else flags & ~_SUBVOL_RDONLY
    if wanted != flags:
        _call(path, _SUBVOL_SETFLAGS, struct.pack("=Q", wanted))


def nested(path: Path) -> list[Path]:
    """The subvolumes whose parent is the one at `path`."""
    with closing(_open(path)) as descriptor:
        return [path / _place(descriptor, number, folder) for number, folder in _references(descriptor)]


def _references(descriptor: int) -> Iterator[tuple[int, int]]:
    arguments, more = bytearray(4096), True
    while more:
        try:
            fcntl.ioctl(descriptor, _GET_SUBVOL_ROOTREF, arguments)
            more = False
        except OSError as error:
            if error.errno != errno.EOVERFLOW:
                raise
        count = arguments[8 + 255 * 16]
        for index in range(count):
            yield _REF.unpack_from(arguments, 8 + index * 16)


def _place(descriptor: int, number: int, folder: int) -> Path:
    answer = bytearray(_USER_ARGS.pack(folder, number, b"", b""))
    fcntl.ioctl(descriptor, _INO_LOOKUP_USER, answer)
    _, _, name, path = _USER_ARGS.unpack(answer)
    return Path(os.fsdecode(path.split(b"\0")[0]), os.fsdecode(name.split(b"\0")[0]))


def enable_quota(root: Path) -> None:
    """Keep account of what each subvolume of the filesystem takes. Does nothing when it is kept."""
    _call(root, _QUOTA_CTL, struct.pack("=QQ", 1, 0))


def limit(path: Path, size: int) -> None:
    """Let the subvolume refer to `size` bytes; 0 for no limit, which is so where no account is kept.

    The kernel books the call itself on the subvolume that it is made on, so that a full one could not be given more room: it
    is made on the folder above.
    """
    try:
        _call(path.parent, _QGROUP_LIMIT, struct.pack("=6Q", identity(path), 1, size or _UNLIMITED, 0, 0, 0))
    except OSError as error:
        if size or error.errno != errno.ENOTCONN:
            raise


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _call(path: Path, number: int, arguments: bytes) -> bytearray:
    buffer = bytearray(arguments)
    with closing(_open(path)) as descriptor:
        try:
            fcntl.ioctl(descriptor, number, buffer)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
    return buffer
