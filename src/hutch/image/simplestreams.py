"""Catalogues of images in the simplestreams format: an index that names documents of products, each with dated versions.

A version's files are told apart by their ftype: a metadata file of LXD's or Incus's and a root filesystem beside it, or both
in one. What the fingerprint of the two together is, the metadata file's entry says.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from hutch.errors import Invalid, NotFound

Document = TypeVar("Document")

INDEX = "streams/v1/index.json"
ARCHITECTURES = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "armhf": "armv7l",
    "i386": "i686",
    "ppc64el": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
"""Debian's names of architectures, which catalogues use, as the kernel's, which images have."""

_METADATA = ("incus.tar.xz", "lxd.tar.xz")
_COMBINED = ("incus_combined.tar.gz", "lxd_combined.tar.gz")
_ROOTFS = (("squashfs", "combined_squashfs_sha256"), ("root.tar.xz", "combined_rootxz_sha256"))


class _Item(msgspec.Struct):
    ftype: str = ""
    path: str = ""
    size: int = 0
    sha256: str = ""
    combined_sha256: str = ""
    combined_squashfs_sha256: str = ""
    combined_rootxz_sha256: str = ""


class _Version(msgspec.Struct):
    items: dict[str, _Item] = {}


class _Product(msgspec.Struct):
    aliases: str = ""
    arch: str = ""
    os: str = ""
    release: str = ""
    release_title: str = ""
    variant: str = ""
    versions: dict[str, _Version] = {}


class _Products(msgspec.Struct):
    products: dict[str, _Product] = {}


class _Stream(msgspec.Struct):
    path: str = ""
    datatype: str = "image-downloads"


class _Index(msgspec.Struct):
    index: dict[str, _Stream] = {}


@dataclass(frozen=True)
class File:
    """A file of the server, by its path there, with the size that it must have."""

    path: str
    size: int


@dataclass(frozen=True)
class Entry:
    """An image that can be had: its metadata and its root filesystem, or one file with both."""

    fingerprint: str
    files: tuple[File, ...]
    architecture: str
    version: str
    aliases: tuple[str, ...]
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def documents(index: bytes) -> list[str]:
    """Where on the server the documents with images are. Raises Invalid for what is no index."""
    found = _decoded(index, _Index, "index")
    return [_path(each.path) for each in found.index.values() if each.datatype == "image-downloads"]


def entries(document: bytes) -> Iterator[Entry]:
    """Every image of a container in a document of products. Raises Invalid for what is none."""
    for product in _decoded(document, _Products, "document of products").products.values():
        for version, content in product.versions.items():
            if (entry := _entry(product, version, list(content.items.values()))) is not None:
                yield entry


def _decoded(data: bytes, kind: type[Document], what: str) -> Document:
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"the server's {what} is not in the simplestreams format: {error}") from error


def _path(path: str) -> str:
    """Below the server's address, whatever the document says."""
    if not path or path.startswith("/") or ".." in path.split("/") or "://" in path:
        raise Invalid(f"the server's catalogue has an invalid path {path!r}")
    return path


def _entry(product: _Product, version: str, items: Sequence[_Item]) -> Entry | None:
    found = _split(items) or _combined(items)
    if found is None:
        return None
    fingerprint, files = found
    title = product.release_title or product.release
    properties = {
        "architecture": product.arch,
        "description": f"{product.os} {title} {product.arch} ({version})".strip(),
        "os": product.os,
        "release": product.release,
        "serial": version,
        "variant": product.variant,
    }
    return Entry(
        fingerprint=fingerprint.lower(),
        files=tuple(File(_path(each.path), each.size) for each in files),
        architecture=ARCHITECTURES.get(product.arch, product.arch),
        version=version,
        aliases=tuple(alias for word in product.aliases.split(",") if (alias := word.strip())),
        properties={key: text for key, text in properties.items() if text},
    )


def _split(items: Sequence[_Item]) -> tuple[str, list[_Item]] | None:
    metadata = _first(items, _METADATA)
    if metadata is None:
        return None
    for ftype, key in _ROOTFS:
        rootfs = _first(items, [ftype])
        if rootfs is not None and (fingerprint := getattr(metadata, key) or metadata.combined_sha256):
            return fingerprint, [metadata, rootfs]
    return None


def _combined(items: Sequence[_Item]) -> tuple[str, list[_Item]] | None:
    item = _first(items, _COMBINED)
    return None if item is None or not item.sha256 else (item.sha256, [item])


def _first(items: Iterable[_Item], ftypes: Sequence[str]) -> _Item | None:
    return next((item for ftype in ftypes for item in items if item.ftype == ftype), None)


def choose(known: Iterable[Entry], name: str, architectures: Sequence[str]) -> Entry:
    """The newest image with the alias or the beginning of a fingerprint, for the first architecture that there is one for."""
    matching = [
        each for each in known if name in each.aliases or (len(name) >= 12 and each.fingerprint.startswith(name))
    ]
    for architecture in architectures:
        fitting = [each for each in matching if each.architecture == architecture]
        if fitting:
            return max(fitting, key=lambda each: each.version)
    if matching:
        theirs = ", ".join(sorted({each.architecture for each in matching}))
        raise NotFound(f"the image {name!r} is there for {theirs} only")
    raise NotFound(f"there is no image {name!r}")
