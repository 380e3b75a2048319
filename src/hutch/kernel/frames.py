"""Frames for a guest that has not come yet, kept by the kernel in a packet socket until it can be given them."""

import contextlib
import socket
import struct

_ETH_ALL, _OUTGOING = 0x0003, 4
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_KEPT = 8 << 20
_LARGEST = 65_600


class Kept:
    """What arrives from now on, on any link of this network namespace, for a hardware address."""

    def __init__(self, hwaddr: str) -> None:
        self._own = bytes.fromhex(hwaddr.replace(":", ""))
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETH_ALL))
        try:
            code = _for(self._own)
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

    def give(self, bridge: str, link: str) -> int:
        """Send what was kept out on `link`, and keep no more; how many frames. What came by the bridge itself came by a port too."""
        found = []
        with self._socket, contextlib.suppress(BlockingIOError):
            while True:
                frame, (name, _, kind, *_) = self._socket.recvfrom(_LARGEST)
                if kind != _OUTGOING and name not in (bridge, link) and frame.startswith(self._own):
                    found.append(frame)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as way:
            way.bind((link, 0))
            for frame in found:
                with contextlib.suppress(OSError):
                    way.send(frame)
        return len(found)

    def close(self) -> None:
        self._socket.close()


def _for(own: bytes) -> list[tuple[int, int, int, int]]:
    """A filter (bpf(4)) that takes frames to one hardware address, whole."""
    first, rest = int.from_bytes(own[:4], "big"), int.from_bytes(own[4:], "big")
    return [
        (0x20, 0, 0, 0),  # ld [0]
        (0x15, 0, 3, first),  # jeq, else to the end
        (0x28, 0, 0, 4),  # ldh [4]
        (0x15, 0, 1, rest),
        (0x06, 0, 0, 0xFFFF_FFFF),  # ret all
        (0x06, 0, 0, 0),  # ret nothing
    ]
