"""Image files on their way to and from the daemon."""

import http.client
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO
from urllib.parse import urlencode

from hutch import errors
from hutch.client import connection
from hutch.client.connection import BLOCK, Client, Reply, decoded

Moved = Callable[[int], None]
BOUNDARY = "hutch-image-part-5f0c9a"


def upload(
    client: Client,
    metadata: Path,
    rootfs: Path | None = None,
    *,
    public: bool = False,
    properties: Mapping[str, str] | None = None,
    moved: Moved = lambda _: None,
) -> Reply:
    """Send a unified image, or the two files of a split one; the answer is the operation that takes it in."""
    headers = {"X-LXD-filename": metadata.name, "Content-Type": "application/octet-stream"}
    if public:
        headers["X-LXD-public"] = "1"
    if properties:
        headers["X-LXD-properties"] = urlencode(properties)
    if rootfs is None:
        headers["Content-Length"] = str(metadata.stat().st_size)
        body = blocks(metadata, moved)
    else:
        parts = [("metadata", metadata), ("rootfs", rootfs)]
        headers["Content-Type"] = f"multipart/form-data; boundary={BOUNDARY}"
        length = sum(len(_head(name, path)) + path.stat().st_size + 2 for name, path in parts) + len(_TAIL)
        headers["Content-Length"] = str(length)
        body = multipart(parts, moved)
    return decoded(client.stream("POST", "/1.0/images", body, headers=headers))


def size(metadata: Path, rootfs: Path | None) -> int:
    return sum(path.stat().st_size for path in (metadata, rootfs) if path)


def blocks(path: Path, moved: Moved) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            yield block
            moved(len(block))


def multipart(parts: list[tuple[str, Path]], moved: Moved) -> Iterator[bytes]:
    for name, path in parts:
        yield _head(name, path)
        yield from blocks(path, moved)
        yield b"\r\n"
    yield _TAIL


def _head(name: str, path: Path) -> bytes:
    filename = path.name.replace('"', "_")
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()


_TAIL = f"--{BOUNDARY}--\r\n".encode()


def save(
    response: http.client.HTTPResponse, target: Path, fingerprint: str, moved: Moved = lambda _: None
) -> list[Path]:
    """Write an exported image: to the file `target`, or into the folder `target` under the daemon's names.

    A split image is two files; with `target` a file name the second gets it with `.root` appended, as LXD does.
    """
    kind = response.headers.get("Content-Type") or ""
    if not kind.startswith("multipart/"):
        name = _filename(response.headers.get("Content-Disposition") or "") or f"{fingerprint}.tar"
        path = target / name if target.is_dir() else target
        with path.open("wb") as out:
            for block in connection.blocks(response):
                out.write(block)
                moved(len(block))
        return [path]
    boundary = kind.partition("boundary=")[2].partition(";")[0].strip().strip('"').encode()
    return _save_parts(_Multipart(response, boundary, moved), target, fingerprint)


def _save_parts(source: "_Multipart", target: Path, fingerprint: str) -> list[Path]:
    written: list[Path] = []
    while (disposition := source.next_part()) is not None:
        name = _filename(disposition) or f"{fingerprint}.{len(written)}"
        path = target / name if target.is_dir() else (Path(f"{target}.root") if written else target)
        with path.open("wb") as out:
            source.copy(out)
        written.append(path)
    return written


def _filename(disposition: str) -> str:
    """The base name in a Content-Disposition header; never a path."""
    name = disposition.partition("filename=")[2].partition(";")[0].strip().strip('"')
    return os.path.basename(name)  # noqa: PTH119


class _Multipart:
    """Reads a multipart body part by part without ever holding one whole."""

    def __init__(self, source: http.client.HTTPResponse, boundary: bytes, moved: Moved) -> None:
        self.source, self.moved = source, moved
        self.mark = b"\r\n--" + boundary
        self.held = b"\r\n"  # the first boundary has no line before it

    def _more(self) -> None:
        block = self.source.read(BLOCK)
        if not block:
            raise errors.HutchError("the daemon's answer ended in the middle of an image")
        self.moved(len(block))
        self.held += block

    def next_part(self) -> str | None:
        """Skip to the next part; its Content-Disposition, None at the end."""
        while (at := self.held.find(self.mark)) < 0:
            self._more()
        while len(self.held) < at + len(self.mark) + 2:
            self._more()
        self.held = self.held[at + len(self.mark) :]
        if self.held.startswith(b"--"):
            return None
        while (end := self.held.find(b"\r\n\r\n")) < 0:
            self._more()
        lines = self.held[:end].decode(errors="replace").splitlines()
        self.held = self.held[end + 4 :]
        return next((line for line in lines if line.lower().startswith("content-disposition:")), "")

    def copy(self, out: IO[bytes]) -> None:
        """The part's content, up to the boundary that ends it."""
        while (at := self.held.find(self.mark)) < 0:
            keep = len(self.mark) - 1
            out.write(self.held[:-keep])
            self.held = self.held[-keep:]
            self._more()
        out.write(self.held[:at])
        self.held = self.held[at:]
