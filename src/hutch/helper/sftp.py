"""An SFTP server inside a guest's root, on the stream socket that is its standard input.

Started as `python -I sftp.py guest FD` with the pidfd of a running guest's init, or as `python -I sftp.py mount FD [FD]` with
a mounted root and a user namespace of its id map. It enters what it is given and becomes the guest's root there before it
reads a byte from the client: paths and owners are the kernel's matter. Raw SFTP version 3, as LXD's clients speak it.
"""

import asyncio
import ctypes
import os
import socket
import sys
from typing import Any

import asyncssh
from asyncssh import sftp

_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x1000_0000
_LIMIT = 4 << 20


def enter_guest(pidfd: int) -> None:
    _setns(pidfd, _CLONE_NEWNS | (0 if _shares_users(pidfd) else _CLONE_NEWUSER))


def enter_mount(root: int, users: int | None) -> None:
    os.chdir(root)
    os.chroot(".")
    if users is not None:
        _setns(users, _CLONE_NEWUSER)


def _shares_users(pidfd: int) -> bool:
    """Entering one's own user namespace is an error."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:  # noqa: PTH123
        pid = next(line.split()[1] for line in file if line.startswith("Pid:"))
    return os.stat(f"/proc/{pid}/ns/user").st_ino == os.stat("/proc/self/ns/user").st_ino  # noqa: PTH116


def _setns(fd: int, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, flags) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "setns")


def become_root() -> None:
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.umask(0o022)
    os.chdir("/")
    # What is not loaded by now would come from the guest.
    sys.path.clear()
    sys.path_importer_cache.clear()


class Server(asyncssh.SFTPServer):
    """Names of users are not looked up: that would load the guest's libraries."""

    def format_user(self, uid: int | None) -> str:
        return str(uid or 0)

    def format_group(self, gid: int | None) -> str:
        return str(gid or 0)


class Channel:
    """The few things that the server asks of an SSH channel."""

    logger = asyncssh.logging.logger
    env: dict[str, str] = {}  # noqa: RUF012

    def get_connection(self) -> "Channel":
        return self

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        # Clients put the target of a symbolic link first, as OpenSSH does and the draft does not.
        return "OpenSSH" if name == "client_version" else default

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        pass


class Reader(Channel):
    def __init__(self, stream: asyncio.StreamReader) -> None:
        self.readexactly = stream.readexactly


class Writer(Channel):
    def __init__(self, stream: asyncio.StreamWriter) -> None:
        self.channel = Channel()
        self.stream = stream
        self.write, self.drain = stream.write, stream.drain

    def close(self) -> None:
        self.stream.close()

    async def wait_closed(self) -> None:
        pass


async def serve() -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=0), limit=_LIMIT)
    server = Server(Channel())  # type: ignore[arg-type]
    handler = sftp.SFTPServerHandler(server, Reader(reader), Writer(writer), 3)  # type: ignore[arg-type]
    await handler.run()


def main(kind: str, *descriptors: str) -> None:
    numbers = [int(word) for word in descriptors]
    if kind == "guest":
        enter_guest(numbers[0])
    else:
        enter_mount(numbers[0], numbers[1] if len(numbers) > 1 else None)
    for number in numbers:
        os.close(number)
    become_root()
    asyncio.run(serve())


if __name__ == "__main__":
    main(*sys.argv[1:])
