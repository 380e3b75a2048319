"""Files as block devices. A device here frees itself when the last mount of it goes, so a crash leaves none behind."""

import contextlib
import errno
import fcntl
import os
import struct
from pathlib import Path

_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE, _LOOP_GET_STATUS64, _LOOP_SET_CAPACITY = 0x4C82, 0x4C0A, 0x4C05, 0x4C07
_LO_FLAGS_AUTOCLEAR, _LO_FLAGS_DIRECT_IO = 4, 16
_INFO = struct.Struct(
    "=5Q4I64s64s32s2Q"
)  # loop_info64: device, inode, rdevice, offset, limit, number, _, _, flags, names
_CONFIG = struct.Struct(f"=2I{_INFO.size}s64x")  # loop_config: descriptor, block size, info, reserved


def attach(file: Path) -> int:
    """A descriptor of the device that stands for `file`, made when there is none yet.

    It must stay open until the device is mounted. A file that already has a device (held by mounts of an earlier
    daemon) gets the same one: two would show one filesystem twice.
    """
    found = find(file)
    return _attach(file) if found is None else found


def find(file: Path) -> int | None:
    """A descriptor of the device that stands for `file` now."""
    status = file.stat()
    for folder in Path("/sys/block").glob("loop*/loop"):
        with contextlib.suppress(OSError):
            device = os.open(f"/dev/{folder.parent.name}", os.O_RDWR | os.O_CLOEXEC)
            info = _INFO.unpack(_status(device))
            if info[:2] == (status.st_dev, status.st_ino):
                return device
            os.close(device)
    return None


def _status(device: int) -> bytes:
    try:
        return fcntl.ioctl(device, _LOOP_GET_STATUS64, bytes(_INFO.size))
    except OSError:
        os.close(device)
        raise


def _attach(file: Path) -> int:
    name = os.fsencode(file)[:63]
    flags = _LO_FLAGS_AUTOCLEAR | _LO_FLAGS_DIRECT_IO
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, name, b"", b"", 0, 0)
    with file.open("r+b") as backing:
        while True:
            device = _free()
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, _CONFIG.pack(backing.fileno(), 0, info))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device


def _free() -> int:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
    finally:
        os.close(control)
    return os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)


def name(device: int) -> Path:
    """The path of the device."""
    return Path(f"/proc/self/fd/{device}").readlink()


def grown(device: int) -> None:
    """Take notice that the file became larger."""
    fcntl.ioctl(device, _LOOP_SET_CAPACITY)
