"""The program that loads a daemon, run by bench.load as a process of its own: `python -m bench.client WHAT ...`.

It prints JSON: what it counted, and the milliseconds that each request took.
"""

import json
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path

_BLOCK = b"\0" * (1 << 20)


class Connection:
    """HTTP/1.1 kept alive, read no further than it takes to find the end of an answer."""

    def __init__(self, wire: socket.socket) -> None:
        self.wire = wire
        self._rest = b""

    def ask(self, head: bytes) -> int:
        """Send a request without a body; the length of the answer's."""
        self.wire.sendall(head)
        return self.answer()

    def answer(self) -> int:
        head = self._until(b"\r\n\r\n").lower()
        if not head.startswith(b"http/1.1 2"):
            raise RuntimeError(head.decode(errors="replace"))
        if b"transfer-encoding: chunked" in head:
            total = 0
            while size := int(self._until(b"\r\n"), 16):
                self._take(size + 2)
                total += size
            self._take(2)
            return total
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        self._take(length)
        return length

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            self._more()
        found, _, self._rest = self._rest.partition(mark)
        return found

    def _take(self, count: int) -> None:
        while len(self._rest) < count:
            count -= len(self._rest)
            self._rest = b""
            self._more()
        self._rest = self._rest[count:]

    def _more(self) -> None:
        block = self.wire.recv(1 << 18)
        if not block:
            raise RuntimeError("the daemon closed the connection")
        self._rest += block


def requests(path: str, target: str, seconds: str) -> dict[str, object]:
    """GET `target` again and again by the Unix socket at `path`."""
    wire = socket.socket(socket.AF_UNIX)
    wire.connect(path)
    connection = Connection(wire)
    head = f"GET {target} HTTP/1.1\r\nHost: load\r\n\r\n".encode()
    size = connection.ask(head)
    times = _repeat(float(seconds), lambda: connection.ask(head))
    return {"times": times, "bytes": size}


def handshakes(port: str, certificate: str, key: str, seconds: str) -> dict[str, object]:
    """Connect by TLS again and again."""
    context = _context(certificate, key)
    return {"times": _repeat(float(seconds), lambda: _dial(port, context).wire.close())}


def upload(port: str, certificate: str, key: str, target: str, mebibytes: str) -> dict[str, object]:
    """POST a file of so many MiB by TLS."""
    connection, size = _dial(port, _context(certificate, key)), int(mebibytes)
    head = f"POST {target} HTTP/1.1\r\nHost: load\r\nX-LXD-type: file\r\nContent-Length: {size << 20}\r\n\r\n"
    began = time.perf_counter()
    connection.wire.sendall(head.encode())
    for _ in range(size):
        connection.wire.sendall(_BLOCK)
    connection.answer()
    return {"times": [(time.perf_counter() - began) * 1000], "bytes": size << 20}


def download(port: str, certificate: str, key: str, target: str) -> dict[str, object]:
    """GET a file by TLS."""
    connection = _dial(port, _context(certificate, key))
    began = time.perf_counter()
    size = connection.ask(f"GET {target} HTTP/1.1\r\nHost: load\r\n\r\n".encode())
    return {"times": [(time.perf_counter() - began) * 1000], "bytes": size}


def _context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(Path(certificate), Path(key))
    return context


def _dial(port: str, context: ssl.SSLContext) -> Connection:
    return Connection(context.wrap_socket(socket.create_connection(("127.0.0.1", int(port)))))


def _repeat(seconds: float, step: Callable[[], object]) -> list[float]:
    """The milliseconds of each step, for so long."""
    times: list[float] = []
    last = began = time.perf_counter()
    while last - began < seconds:
        step()
        now = time.perf_counter()
        times.append((now - last) * 1000)
        last = now
    return times


if __name__ == "__main__":
    print(
        json.dumps(
            {each.__name__: each for each in (requests, handshakes, upload, download)}[sys.argv[1]](*sys.argv[2:])
        )
    )
