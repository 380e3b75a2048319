"""Opening paths that cannot leave a root, whatever symbolic links in it say: openat2(2)."""

import ctypes
import os
import struct
from pathlib import Path

from hutch.kernel.syscalls import syscall

_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10


def open_in_root(root: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` as a process chrooted to the directory descriptor `root` would, `..` and absolute links included."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    return syscall(_OPENAT2, root, os.fsencode(path) + b"\0", ctypes.c_char_p(how), len(how), what=path)


def resolve_in_root(root: Path, path: str) -> Path | None:
    """Where `path` ends inside of `root` after all links, as a path from `root`; None when nothing is there."""
    base = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_in_root(base, path, os.O_PATH)
        try:
            found = Path(f"/proc/self/fd/{fd}").readlink()
            return Path("/") / found.relative_to(Path(f"/proc/self/fd/{base}").readlink())
        finally:
            os.close(fd)
    except (OSError, ValueError):
        return None
    finally:
        os.close(base)
