"""Calls into the kernel that Python does not wrap, with errno turned into OSError in one place."""

import ctypes
import os
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def check(result: int, what: str) -> int:
    """`result`, or the OSError that errno names; `what` becomes its file name."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def syscall(number: int, *arguments: Any, what: str = "syscall") -> int:
    """A system call by number (x86_64 and arm64 share the numbers above 424). Blocks; releases the GIL."""
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return check(int(_libc.syscall(ctypes.c_long(number), *wide)), what)


def set_fs_id(name: str, number: int) -> int:
    """setfsuid or setfsgid: the id that was in force before. Ids above 2147483647 look negative to C's int and are no failures."""
    return int(getattr(_libc, name)(ctypes.c_uint(number))) & 0xFFFF_FFFF


def libc(name: str, *arguments: Any, what: str = "") -> int:
    """A function of the C library that answers -1 and errno on failure."""
    return check(int(getattr(_libc, name)(*arguments)), what or name)
