"""The VNC viewer that watches Doom, against a small VNC server."""

import json
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

VIEWER = Path(__file__).parents[3] / "bench" / "rfb.py"
WIDTH, HEIGHT, PAUSE = 4, 2, 0.5
RED = b"\0\0\xff\0"


def _serve(listening: socket.socket, frames: int) -> None:
    """A red screen in many frames, with a pause before the last."""
    line, _ = listening.accept()
    with line, line.makefile("rb") as asked:
        line.sendall(b"RFB 003.008\n")
        assert asked.read(12) == b"RFB 003.008\n"
        line.sendall(b"\1\1")
        assert asked.read(1) == b"\1"
        line.sendall(bytes(4))
        asked.read(1)
        line.sendall(struct.pack(">HH", WIDTH, HEIGHT) + bytes(16) + struct.pack(">I", 4) + b"fake")
        assert asked.read(20)[0] == 0
        assert asked.read(8) == struct.pack(">BxHi", 2, 1, 0)
        while frames:
            kind = asked.read(1)
            if kind == b"\4":
                asked.read(7)
                continue
            assert kind == b"\3"
            asked.read(9)
            frames -= 1
            if not frames:
                time.sleep(PAUSE)
            line.sendall(struct.pack(">BxH", 0, 1) + struct.pack(">HHHHi", 0, 0, WIDTH, HEIGHT, 0))
            line.sendall(RED * WIDTH * HEIGHT)
        while asked.read(1):
            pass


def test_the_longest_gap_and_the_picture_are_told(tmp_path: Path) -> None:
    picture = tmp_path / "screen.png"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=_serve, args=(listening, 5), daemon=True)
        server.start()
        words = [sys.executable, "-I", "-S", str(VIEWER), "127.0.0.1", str(listening.getsockname()[1])]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as viewer:
            time.sleep(PAUSE * 2)
            out, _ = viewer.communicate(f"{picture}\n", timeout=20)
        server.join(20)

    seen = json.loads(out)
    assert seen["wrong"] == ""
    assert (seen["frames"], seen["changed"]) == (5, 1)
    assert seen["gap"] >= PAUSE
    data = picture.read_bytes()
    assert struct.unpack(">II", data[16:24]) == (WIDTH, HEIGHT)
    packed = data[data.index(b"IDAT") + 4 : data.index(b"IEND") - 8]
    assert zlib.decompress(packed) == (b"\0" + b"\xff\0\0" * WIDTH) * HEIGHT


def test_a_connection_that_is_closed_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            line, _ = listening.accept()
            line.close()

        threading.Thread(target=serve, daemon=True).start()
        words = [sys.executable, "-I", "-S", str(VIEWER), "127.0.0.1", str(listening.getsockname()[1])]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20)

    assert done.returncode != 0
    assert "closed the connection" in done.stderr
