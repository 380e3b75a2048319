"""Tells when somebody changes the firewall: the kernel's notices of nftables changes."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable

_NETLINK_NETFILTER, _GROUP_NFTABLES = 12, 7


class Watch:
    """Calls `changed` from the event loop, for any number of changes that come together."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.bind((0, 1 << (_GROUP_NFTABLES - 1)))
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    self._socket.recv(65536)
                except OSError as error:
                    # notices were lost: that is news as well
                    if error.errno != errno.ENOBUFS:
                        raise
        self._changed()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
