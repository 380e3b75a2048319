"""Paths inside a guest's root, resolved by the kernel and never by text.

openat2(2) with RESOLVE_IN_ROOT takes every symbolic link and every `..` as the guest would, with the root as the end
of the world, also while the guest renames things meanwhile. What is found is held by an O_PATH descriptor first, so
that no pipe is waited for and no device is opened before its type is known. Everything here blocks.
"""

import ctypes
import errno
import os
import secrets
import stat
import struct

from hutch.errors import Invalid
from hutch.kernel.openat2 import open_in_root
from hutch.kernel.syscalls import libc

_TRIES = 1000
_PSEUDO = {
    0x9FA0: "proc",
    0x6265_6572: "sysfs",
    0x0027_E0EB: "cgroup",
    0x6367_7270: "cgroup2",
    0x6462_6720: "debugfs",
    0x7472_6163: "tracefs",
    0x7363_6673: "securityfs",
    0xCAFE_4A11: "bpf",
    0x6165_676C: "pstore",
    0xDE5E_81E4: "efivarfs",
    0x6265_6570: "configfs",
    0x4249_4E4D: "binfmt_misc",
    0xF97C_FF8C: "selinuxfs",
}


def resolve(root: int, path: str, flags: int = 0, mode: int = 0) -> int:
    """A descriptor of what the guest sees at `path`: an O_PATH one of the target of a last link, unless `flags`
    hold O_NOFOLLOW, or O_CREAT, which opens for use."""
    if "\0" in path:
        raise Invalid("a path cannot hold a null byte")
    wanted = flags if flags & os.O_CREAT else flags | os.O_PATH
    for _ in range(_TRIES):
        try:
            return open_in_root(root, path or "/", wanted, mode)
        except OSError as error:
            # The kernel asks to try again when something was renamed while it went through a `..`.
            if error.errno != errno.EAGAIN:
                raise
    raise OSError(errno.EAGAIN, "the folders on the way are renamed all the time", path)


def parent(root: int, path: str) -> tuple[int, str]:
    """A descriptor of the folder that `path` is in, and the last name, which is not resolved."""
    folder, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise Invalid(f"{path!r} does not name a file in a folder")
    return resolve(root, folder or "/", os.O_DIRECTORY), name


def reopen(descriptor: int, flags: int) -> int:
    """Open for use what an O_PATH descriptor holds; the caller knows that it is a file or a folder."""
    return os.open(f"/proc/self/fd/{descriptor}", flags | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)


def beside(name: str) -> str:
    """A name that nobody has for what will become `name` once it is whole."""
    return f".{name[:64]}.{secrets.token_hex(8)}"


def kind(mode: int) -> str:
    """The API's word for a type of file; empty for what it has no word for."""
    names = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
    return names.get(stat.S_IFMT(mode), "")


def pseudo(descriptor: int) -> str:
    """The name of the kernel's own filesystem that the descriptor is on; empty for one that holds files."""
    buffer = ctypes.create_string_buffer(256)
    libc("fstatfs", descriptor, buffer, what="fstatfs")
    number: int = struct.unpack_from("=q", buffer.raw)[0]
    return _PSEUDO.get(number & 0xFFFF_FFFF, "")
