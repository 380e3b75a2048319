"""A VNC viewer without a window: keeps one connection, plays a little, and notes every frame (RFB 3.8, RFC 6143).

`rfb.py HOST PORT`: each line of the standard input is a file to which the screen is written as PNG; at its end prints what was
seen as JSON: frames, how many of them were different from the one before, the longest gap between two in seconds, and what went
wrong (empty: nothing). Standard library only.
"""

import json
import os
import select
import socket
import struct
import sys
import time
import zlib

PATIENCE, TURN = 60.0, 1.0
LEFT, RIGHT = 0xFF51, 0xFF53
"""Keys by their X11 names' numbers."""

_PIXELS = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


class Screen:
    """One connection to a VNC server without a password, in 32 bits a pixel and without compression."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), 20)
        self.socket.settimeout(PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read(12)
        self.socket.sendall(b"RFB 003.008\n")
        if 1 not in self._read(self._read(1)[0]):
            raise OSError("the VNC server wants a password")
        self.socket.sendall(b"\1")
        self._read(4)
        self.socket.sendall(b"\1")  # others may look on too
        self.width, self.height = struct.unpack(">HH", self._read(4))
        self._read(16)
        self._read(*struct.unpack(">I", self._read(4)))
        self.socket.sendall(struct.pack(">Bxxx", 0) + _PIXELS)
        self.socket.sendall(struct.pack(">BxHi", 2, 1, 0))
        self.pixels = bytearray(self.width * self.height * 4)
        self.ask(whole=True)

    def ask(self, *, whole: bool = False) -> None:
        """Ask for the next frame: what has changed, or everything."""
        self.socket.sendall(struct.pack(">BBHHHH", 3, not whole, 0, 0, self.width, self.height))

    def key(self, number: int, *, down: bool) -> None:
        self.socket.sendall(struct.pack(">BBxxI", 4, down, number))

    def take(self) -> bool:
        """Read one message of the server; whether it was a frame."""
        kind = self._read(1)[0]
        if kind == 0:
            for _ in range(struct.unpack(">xH", self._read(3))[0]):
                self._rectangle(*struct.unpack(">HHHHi", self._read(12)))
            return True
        if kind == 1:
            _, count = struct.unpack(">xHH", self._read(5))
            self._read(6 * count)
        elif kind == 3:
            self._read(*struct.unpack(">xxxI", self._read(7)))
        return False

    def _rectangle(self, left: int, top: int, width: int, height: int, encoding: int) -> None:
        if encoding != 0:
            raise OSError(f"the VNC server sends encoding {encoding}, which was not asked for")
        data = self._read(width * height * 4)
        for row in range(height):
            at = ((top + row) * self.width + left) * 4
            self.pixels[at : at + width * 4] = data[row * width * 4 : (row + 1) * width * 4]

    def _read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise OSError("the VNC server closed the connection")
            data += piece
        return bytes(data)

    def png(self) -> bytes:
        """The screen as a picture (PNG, W3C recommendation)."""
        rows = bytearray()
        for row in range(self.height):
            line = self.pixels[row * self.width * 4 : (row + 1) * self.width * 4]
            colours = bytearray(self.width * 3)
            colours[0::3], colours[1::3], colours[2::3] = line[2::4], line[1::4], line[0::4]
            rows += b"\0" + colours
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 6)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def main() -> None:
    screen = Screen(sys.argv[1], int(sys.argv[2]))
    seen = {"frames": 0, "changed": 0, "gap": 0.0, "wrong": ""}
    try:
        _watch(screen, seen)
    except OSError as error:
        seen["wrong"] = repr(error)
    print(json.dumps(seen))


def _watch(screen: Screen, seen: dict[str, object]) -> None:
    frames = changed = 0
    longest = 0.0
    last, turned, key, before = time.monotonic(), 0.0, LEFT, 0
    try:
        while True:
            readable, _, _ = select.select([screen.socket, 0], [], [], PATIENCE)
            if not readable:
                raise OSError(f"no frame for {PATIENCE:.0f} seconds")
            if 0 in readable and not _pictures(screen):
                return
            if screen.socket not in readable or not screen.take():
                continue
            now = time.monotonic()
            longest, last = max(longest, now - last), now
            picture = zlib.crc32(screen.pixels)
            frames, changed, before = frames + 1, changed + (picture != before), picture
            if now - turned > TURN:
                screen.key(key, down=False)
                key, turned = (RIGHT if key == LEFT else LEFT), now
                screen.key(key, down=True)
            screen.ask()
    finally:
        seen.update(frames=frames, changed=changed, gap=round(longest, 3))


def _pictures(screen: Screen) -> bool:
    """Write the pictures that are asked for; false at the end of the input."""
    asked = os.read(0, 4096)
    for line in asked.decode().splitlines():
        with open(f"{line}.new", "wb") as file:  # noqa: PTH123
            file.write(screen.png())
        os.replace(f"{line}.new", line)  # noqa: PTH105
    return bool(asked)


if __name__ == "__main__":
    main()
