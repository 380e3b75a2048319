"""Tells what a file is by its first bytes, never by its name."""

import re
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hutch.errors import Invalid

HEAD = 512
"""Bytes from the beginning that `recognise` needs."""


class Compression(StrEnum):
    """How an image file is packed. Squashfs is an archive and its compression in one; the others hold a tar."""

    NONE = "none"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    LZMA = "lzma"
    ZSTD = "zstd"
    SQUASHFS = "squashfs"

    @property
    def suffix(self) -> str:
        """The file name extension that LXD gives such a file."""
        return _SUFFIXES[self]


_SUFFIXES = {
    Compression.NONE: ".tar",
    Compression.GZIP: ".tar.gz",
    Compression.BZIP2: ".tar.bz2",
    Compression.XZ: ".tar.xz",
    Compression.LZMA: ".tar.lzma",
    Compression.ZSTD: ".tar.zst",
    Compression.SQUASHFS: ".squashfs",
}
_MAGIC = (
    (b"\x1f\x8b", Compression.GZIP),
    (b"BZh", Compression.BZIP2),
    (b"\xfd7zXZ\x00", Compression.XZ),
    (b"\x5d\x00\x00", Compression.LZMA),
    (b"\x28\xb5\x2f\xfd", Compression.ZSTD),
    (b"hsqs", Compression.SQUASHFS),
)
_FOREIGN = (
    (b"QFI\xfb", "a qcow2 disk of a virtual machine; hutch runs containers"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x04\x22\x4d\x18", "compressed with lz4"),
    (b"<", "a web page or XML document, perhaps the error page of a download"),
    (b"{", "a JSON document"),
)
_KNOWN = "a tar (plain, or packed with gzip, bzip2, xz, lzma or zstd) or a squashfs"


def recognise(head: bytes, size: int) -> Compression:
    """The compression of the file of `size` bytes that begins with `head`; Invalid says what it is instead of an image."""
    if not head:
        raise Invalid("the image file is empty")
    for magic, compression in _MAGIC:
        if head.startswith(magic):
            if compression is Compression.SQUASHFS:
                _check_squashfs(head, size)
            return compression
    if _is_tar(head):
        return Compression.NONE
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            raise Invalid(f"the image file is {what}; an image is {_KNOWN}")
    raise Invalid(f"the image file is of no known format: an image is {_KNOWN}")


def recognise_file(path: Path) -> Compression:
    with path.open("rb") as file:
        head = file.read(HEAD)
    return recognise(head, path.stat().st_size)


def _is_tar(head: bytes) -> bool:
    """By the checksum of the first header, which formats older than ustar have as well."""
    if len(head) < HEAD:
        return False
    try:
        stored = int(head[148:156].strip(b" \0"), 8)
    except ValueError:
        return False
    return stored == sum(head[:148]) + 8 * ord(" ") + sum(head[156:HEAD])


def _check_squashfs(head: bytes, size: int) -> None:
    if len(head) < 96:
        raise Invalid("the image file is a squashfs that is truncated")
    used = struct.unpack_from("<Q", head, 40)[0]
    if used > size:
        raise Invalid(f"the image file is a squashfs that is truncated: it has {size} of {used} bytes")


@dataclass(frozen=True)
class Packer:
    """A program that compresses standard input to standard output, as `compression_algorithm` asks for it."""

    compression: Compression
    argv: tuple[str, ...]


_PROGRAMS = {
    "gzip": (Compression.GZIP, ("gzip", "-c")),
    "pigz": (Compression.GZIP, ("gzip", "-c")),
    "bzip2": (Compression.BZIP2, ("bzip2", "-c")),
    "xz": (Compression.XZ, ("xz", "-c", "-T0")),
    "lzma": (Compression.LZMA, ("lzma", "-c")),
    "zstd": (Compression.ZSTD, ("zstd", "-c", "-q", "-T0")),
    "none": (Compression.NONE, ()),
    "squashfs": (Compression.SQUASHFS, ()),
}


def packer(algorithm: str) -> Packer:
    """`ALGORITHM [OPTION...]` as clients send it; only levels, threads and their like are let through to the program."""
    name, *options = algorithm.split() or ["zstd"]
    if name not in _PROGRAMS:
        raise Invalid(f"unknown compression algorithm {name!r}; known are {', '.join(sorted(_PROGRAMS))}")
    compression, argv = _PROGRAMS[name]
    allowed = _SQUASHFS_OPTIONS if compression is Compression.SQUASHFS else _OPTIONS if argv else _NO_OPTIONS
    if options and not allowed.fullmatch(" ".join(options)):
        raise Invalid(f"the compression algorithm {name} takes no options {' '.join(options)!r}")
    return Packer(compression, (*argv, *options))


_ONE = r"(-\d{1,2}|-T\d{1,2}|-e|--(fast|best|ultra|extreme|rsyncable|long))"
_OPTIONS = re.compile(rf"{_ONE}( {_ONE})*")
_SQUASHFS = r"(-comp (gzip|xz|zstd|lzo|lz4)|-b \d{1,7}[KM]?|-Xcompression-level \d{1,2}|-processors \d{1,2})"
_SQUASHFS_OPTIONS = re.compile(rf"{_SQUASHFS}( {_SQUASHFS})*")
_NO_OPTIONS = re.compile(r"(?!)")
