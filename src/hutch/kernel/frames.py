"""Frames for a guest that has not come yet, kept by the kernel in a packet socket until it can be given them."""

import contextlib
import socket
import struct
from collections.abc import Collection

_ETH_ALL, _OUTGOING = 0x0003, 4
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_KEPT = 8 << 20
_LARGEST = 65_600


class Kept:
    """What arrives from now on, on any link of this network namespace, for a hardware address, or with `sent` from it."""

    def __init__(self, hwaddr: str, *, sent: bool = False) -> None:
        self._at = 6 if sent else 0
        self._own = bytes.fromhex(hwaddr.replace(":", ""))
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETH_ALL))
        try:
            code = _with(self._own, self._at)
            packed = b"".join(struct.pack("=HBBI", *each) for each in code)
            self._attach(packed, len(code))
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _KEPT)
        except BaseException:
            self._socket.close()
            raise

    def _attach(self, code: bytes, count: int) -> None:
        import ctypes

        buffer = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("@HL", count, ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def give(self, link: str, *, without: Collection[str] = (), only: str = "") -> int:
        """Send what was kept out on `link`, and keep no more; how many frames. What came by the links `without` (a bridge, whose
        ports it came by too), or by others than `only`, is not sent."""
        found = []
        with self._socket, contextlib.suppress(BlockingIOError):
            while True:
                frame, (name, _, kind, *_) = self._socket.recvfrom(_LARGEST)
                matches = frame[self._at : self._at + 6] == self._own and only in ("", name)
                if matches and kind != _OUTGOING and name != link and name not in without:
                    found.append(frame)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as way:
            way.bind((link, 0))
            for frame in found:
                with contextlib.suppress(OSError):
                    way.send(frame)
        return len(found)

    def close(self) -> None:
        self._socket.close()


def _with(own: bytes, at: int) -> list[tuple[int, int, int, int]]:
    """A filter (bpf(4)) that takes frames with a hardware address at an offset, whole."""
    first, rest = int.from_bytes(own[:4], "big"), int.from_bytes(own[4:], "big")
    return [
        (0x20, 0, 0, at),  # ld
        (0x15, 0, 3, first),  # jeq, else to the end
        (0x28, 0, 0, at + 4),  # ldh
        (0x15, 0, 1, rest),
        (0x06, 0, 0, 0xFFFF_FFFF),  # ret all
        (0x06, 0, 0, 0),  # ret nothing
    ]
