"""Who is at the other end of a Unix socket, held by a descriptor: a number alone may be another process a moment later."""

import contextlib
import fcntl
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hutch.kernel import pidfd
from hutch.kernel.idmap import of_process, to_host

SO_PEERPIDFD = 77
NS_GET_PARENT = 0xB702


@dataclass(frozen=True)
class Peer:
    """The process that connected, in this process's ids."""

    pid: int
    uid: int


def of(connection: socket.socket) -> Peer:
    """The kernel's word on who connected."""
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Peer(pid, uid)


@contextmanager
def held(connection: socket.socket) -> Iterator[tuple[Peer, int]]:
    """The peer and a descriptor of it. Raises ProcessLookupError when it has gone, or is not to be seen from here."""
    peer = of(connection)
    fd = _descriptor(connection, peer.pid)
    try:
        yield peer, fd
        if select.select([fd], [], [], 0)[0]:
            raise ProcessLookupError(f"process {peer.pid} has ended")
    finally:
        os.close(fd)


def _descriptor(connection: socket.socket, pid: int) -> int:
    with contextlib.suppress(OSError):  # Linux before 6.5 does not know it.
        return int(struct.unpack("i", connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, 4))[0])
    if pid <= 0 or (fd := pidfd.open_pid(pid)) is None:
        raise ProcessLookupError(f"process {pid} is not there")
    return fd


def is_of_guest(pid: int, init: int) -> bool:
    """Whether the process lives in the pid namespace of `init`, or in one below it. Blocks. Raises OSError when one has gone."""
    wanted = os.stat(f"/proc/{init}/ns/pid")  # noqa: PTH116
    fd = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    while True:
        try:
            if os.path.samestat(os.fstat(fd), wanted):
                return True
            above = fcntl.ioctl(fd, NS_GET_PARENT)
        except PermissionError:
            return False
        finally:
            os.close(fd)
        fd = above


def is_root_of(peer: Peer, init: int) -> bool:
    """Whether the peer is root in the very user namespace of `init`. Blocks. Raises OSError when one has gone."""
    same = os.path.samestat(os.stat(f"/proc/{peer.pid}/ns/user"), os.stat(f"/proc/{init}/ns/user"))  # noqa: PTH116
    return same and peer.uid == to_host(of_process(init), "u", 0)
