"""Reads an untrusted image's tar to its end, confined, and says what is in it or why it must not be unpacked.

`python -m hutch.helper.tar_listing FILE ROLE COMPRESSION LIMIT` prints one JSON object: `problem` with a sentence, or
the members of image.contents.Contents. ROLE is unified (metadata.yaml, templates/ and rootfs/), metadata (the first
half of a split image) or rootfs (the second). LIMIT is the most bytes it may unpack to. The archive is what
standard input is, so that whoever shares the descriptor sees by its offset how far the reading is.
"""

import base64
import bz2
import gzip
import io
import json
import lzma
import resource
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import zstandard

from hutch.helper import confine
from hutch.image.limits import HARMLESS, SMALL, TEMPLATES

CHUNK = 1 << 20
MEMORY = 2 << 30


class Problem(Exception):
    """Why the archive is refused; a sentence that follows the image's name."""


class StrictInfo(tarfile.TarInfo):
    """Headers that tarfile would take for the end, or skip, are problems: tar might read on."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "StrictInfo":
        try:
            return super().fromtarfile(archive)
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]  # not in the stubs
            raise Problem("ends too early: it is truncated") from None
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # two blocks of zeros: the regular end
            raise
        except tarfile.HeaderError as error:
            raise Problem(f"is truncated or corrupt: {error}") from None


class ZstdFile(io.RawIOBase):
    """Frames of zstd one after the other; a frame that does not end is an EOFError."""

    def __init__(self, source: IO[bytes]) -> None:
        self.source, self.ready = source, b""
        self.decoder, self.inside = zstandard.ZstdDecompressor().decompressobj(), False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.ready:
            if not (data := self.source.read(1 << 17)):
                if self.inside:
                    raise EOFError("a frame ends too early")
                return 0
            self.ready = b"".join(self._decoded(data))
        count = min(len(buffer), len(self.ready))
        buffer[:count], self.ready = self.ready[:count], self.ready[count:]
        return count

    def _decoded(self, data: bytes) -> list[bytes]:
        pieces = []
        while data:
            self.inside = True
            pieces.append(self.decoder.decompress(data))
            data = b""
            if self.decoder.eof:
                data = self.decoder.unused_data
                self.decoder, self.inside = zstandard.ZstdDecompressor().decompressobj(), False
        return pieces


class Forward:
    """A stream with the positions that tarfile asks for, forwards only. (Its own stream mode copies far too much.)"""

    def __init__(self, source: IO[bytes]) -> None:
        self.source, self.at = source, 0

    def read(self, size: int) -> bytes:
        data = self.source.read(size)
        self.at += len(data)
        return data

    def tell(self) -> int:
        return self.at

    def seek(self, position: int, whence: int = 0) -> int:
        while self.at < position and self.read(min(position - self.at, CHUNK)):
            pass
        return self.at


_OPEN: dict[str, Callable[[IO[bytes]], Any]] = {
    "none": lambda source: source,
    "gzip": lambda source: gzip.GzipFile(fileobj=source),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "lzma": lzma.LZMAFile,
    "zstd": ZstdFile,
}


class Listing:
    """What has been seen of the archive so far."""

    def __init__(self, role: str, limit: int) -> None:
        self.role, self.limit = role, limit
        self.names: set[str] = set()
        self.links: set[str] = set()
        self.bytes = self.entries = 0
        self.nodes: list[str] = []
        self.prefix: str | None = None
        self.metadata: str | None = None
        self.templates: dict[str, bytes] = {}

    def add(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        self.entries += 1
        words = self._words(member.name)
        key = "/".join(words)
        inside = self._inside_root(words)
        if self.links:
            self._check_parents(member.name, words)
        self._check_kind(member, inside)
        self._count(member)
        self.names.add(key)
        (self.links.add if member.issym() or self._is_link_to_link(member) else self.links.discard)(key)
        if self.role != "rootfs":
            self._keep(member, words, archive)

    def _words(self, name: str) -> list[str]:
        if name.startswith("/"):
            raise Problem(f"has the absolute entry {name!r}, which leaves the root; pack it with relative names")
        words = [word for word in name.split("/") if word not in ("", ".")]
        if ".." in words:
            raise Problem(f"has the entry {name!r}, which climbs out of the root; pack it again without it")
        return words

    def _inside_root(self, words: list[str]) -> str | None:
        """The name within the guest's root, None for what lies beside it."""
        if self.role == "rootfs":
            return "/".join(words)
        return "/".join(words[1:]) if words[:1] == ["rootfs"] else None

    def _check_parents(self, name: str, words: list[str]) -> None:
        for end in range(1, len(words)):
            if (parent := "/".join(words[:end])) in self.links:
                raise Problem(f"has the entry {name!r} below the symlink {parent!r}, which may lead out of the root")

    def _check_kind(self, member: tarfile.TarInfo, inside: str | None) -> None:
        if member.ischr() or member.isblk():
            self._check_node(member, inside)
        elif member.islnk():
            if "/".join(self._words(member.linkname)) not in self.names:
                target = f"{member.linkname!r}, which it does not hold"
                raise Problem(f"has the entry {member.name!r} as a hard link to {target}")
        elif not (member.isreg() or member.isdir() or member.issym() or member.isfifo()):
            raise Problem(f"has the entry {member.name!r} of the unknown kind {member.type!r}")
        if inside == "" and not member.isdir():
            raise Problem(f"has as root {member.name!r}, which is no directory")

    def _check_node(self, member: tarfile.TarInfo, inside: str | None) -> None:
        device = (member.devmajor, member.devminor)
        if not member.ischr() or inside is None or HARMLESS.get(inside) != device:
            kind = "character" if member.ischr() else "block"
            node = f"{member.name!r} ({kind} {device[0]}:{device[1]})"
            raise Problem(f"carries the device node {node}; remove it and pack the image again")
        self.nodes.append(member.name)

    def _is_link_to_link(self, member: tarfile.TarInfo) -> bool:
        return member.islnk() and "/".join(self._words(member.linkname)) in self.links

    def _count(self, member: tarfile.TarInfo) -> None:
        pieces = getattr(member, "sparse", None)
        self.bytes += sum(size for _, size in pieces) if pieces is not None else member.size
        if self.bytes > self.limit:
            raise Problem(f"unpacks to more than {self.limit} bytes ({member.name!r} alone has {member.size})")

    def _keep(self, member: tarfile.TarInfo, words: list[str], archive: tarfile.TarFile) -> None:
        if words == ["metadata.yaml"]:
            self.metadata = self._content(member, archive).decode(errors="replace")
        elif words[:1] == ["templates"] and not member.isdir():
            self.templates["/".join(words[1:])] = self._content(member, archive)
            if sum(map(len, self.templates.values())) > TEMPLATES:
                raise Problem(f"has templates of more than {TEMPLATES} bytes")
        elif words[:1] == ["rootfs"] and self.role == "unified":
            prefix = member.name[: member.name.index("rootfs")]
            if self.prefix not in (None, prefix):
                raise Problem(f"names its root both {self.prefix + 'rootfs'!r} and {prefix + 'rootfs'!r}")
            self.prefix = prefix

    def _content(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> bytes:
        if not member.isreg() or member.size > SMALL:
            raise Problem(f"has as {member.name!r} something that is no file of at most {SMALL} bytes")
        stream = archive.extractfile(member)
        return stream.read() if stream else b""

    def check_whole(self) -> None:
        if self.role != "rootfs" and self.metadata is None:
            raise Problem("has no metadata.yaml, so it is no image")
        if self.role == "unified" and self.prefix is None:
            raise Problem("has no rootfs directory")
        if self.role == "rootfs" and not self.entries:
            raise Problem("is an empty root filesystem")

    def document(self) -> dict[str, Any]:
        return {
            "metadata": self.metadata or "",
            "templates": {name: base64.b64encode(data).decode() for name, data in self.templates.items()},
            "entries": self.entries,
            "size": self.bytes,
            "nodes": self.nodes,
            "prefix": self.prefix or "",
        }


Seen = TypeVar("Seen", bound=Listing)


def read(source: IO[bytes], listing: Seen, compression: str) -> Seen:
    """Every member of the archive checked, and its compressed stream read to the end."""
    limit = listing.limit
    stream = cast(IO[bytes], Forward(io.BufferedReader(_OPEN[compression](source), CHUNK)))
    try:
        with tarfile.open(fileobj=stream, mode="r:", tarinfo=StrictInfo) as archive:
            for member in archive:
                listing.add(member, archive)
                archive.members = []  # type: ignore[attr-defined]  # else it remembers every member
        listing.check_whole()
        _drain(stream, limit)
    except EOFError as error:
        raise Problem(f"is truncated: {error}") from error
    except (tarfile.TarError, lzma.LZMAError, zstandard.ZstdError, zlib.error, OSError, ValueError) as error:
        raise Problem(f"is corrupt: {error}") from error
    return listing


def _drain(stream: Any, limit: int) -> None:
    left = limit
    while data := stream.read(CHUNK):
        left -= len(data)
        if left < 0:
            raise Problem("goes on without end behind its last entry")


def tell(path: str, listing: Listing, compression: str) -> None:
    """Read the archive on standard input, confined, and print what is in it."""
    confine.enter(Path(path), None, frozenset())
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with open(0, "rb", buffering=CHUNK, closefd=False) as source:
        try:
            document = read(source, listing, compression).document()
        except Problem as problem:
            document = {"problem": str(problem)}
        except MemoryError:
            document = {"problem": f"needs more than {MEMORY} bytes of memory to read"}
    print(json.dumps(document))


def main(path: str, role: str, compression: str, limit: str) -> None:
    tell(path, Listing(role, int(limit)), compression)


if __name__ == "__main__":
    main(*sys.argv[1:])
