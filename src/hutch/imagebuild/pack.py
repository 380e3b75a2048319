"""Packs a root filesystem with its metadata into an image in LXD's form, unified or split.

The root filesystem comes as a plain tar. It is copied member by member and never unpacked here, so nothing that a
package or a recipe put into it can act on this machine; device nodes are left out, an instance brings its own.
"""

import hashlib
import io
import tarfile
import time
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

from hutch.errors import Invalid
from hutch.imagebuild import guest, program
from hutch.imagebuild.recipe import Recipe

FORMATS = ("tar.zst", "tar.xz", "squashfs")
# tar.zst is the quickest to pack and to unpack.
DEFAULT_FORMAT = "tar.zst"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Packed:
    """A unified image (`rootfs` is None) or the two halves of a split one; the fingerprint is LXD's."""

    path: Path
    rootfs: Path | None
    fingerprint: str


def write_tree(nodes: Iterable[guest.Node], target: Path) -> None:
    """Write nodes owned by root as a tar."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        add_nodes(tar, nodes)


def add_nodes(tar: tarfile.TarFile, nodes: Iterable[guest.Node]) -> None:
    for node in nodes:
        info = tarfile.TarInfo(node.path)
        info.mode, info.mtime = node.mode, int(time.time())
        info.uname = info.gname = "root"
        if node.content is not None:
            info.size = len(node.content)
            tar.addfile(info, io.BytesIO(node.content))
        elif node.target is not None:
            info.type, info.linkname = tarfile.SYMTYPE, node.target
            tar.addfile(info)
        else:
            info.type = tarfile.DIRTYPE
            tar.addfile(info)


def properties(recipe: Recipe, serial: str) -> dict[str, str]:
    """What `image list` shows of the image."""
    return {
        "architecture": recipe.debian_architecture,
        "description": f"{recipe.description}, {recipe.debian_architecture} ({serial})",
        "name": f"{recipe.stem}-{recipe.debian_architecture}-{recipe.variant}-{serial}",
        "os": recipe.os,
        "release": recipe.release if recipe.variant == "busybox" else recipe.suite,
        "serial": serial,
        "variant": recipe.variant,
    }


def metadata_nodes(recipe: Recipe, facts: dict[str, str], created: int) -> list[guest.Node]:
    """metadata.yaml and the templates."""
    document = {
        "architecture": recipe.architecture,
        "creation_date": created,
        "properties": facts,
        "templates": guest.template_targets(recipe),
    }
    return [
        guest.file("metadata.yaml", yaml.safe_dump(document, sort_keys=False)),
        guest.folder("templates"),
        *(guest.file(f"templates/{name}", text) for name, text in guest.templates(recipe).items()),
    ]


def pack(
    metadata: list[guest.Node], rootfs: Path, stem: Path, *, form: str = DEFAULT_FORMAT, split: bool = False
) -> Packed:
    """Write STEM.FORM, or STEM.metadata.tar.xz and STEM.rootfs.FORM."""
    if form not in FORMATS:
        raise Invalid(f"unknown image format {form!r}; known are {', '.join(FORMATS)}")
    if not split:
        path = stem.with_name(f"{stem.name}.{form}")

        def fill(tar: tarfile.TarFile) -> None:
            add_nodes(tar, metadata)
            _copy(rootfs, tar, "rootfs")

        _compressed(path, form, fill)
        return Packed(path, None, digest([path]))
    meta = stem.with_name(f"{stem.name}.metadata.tar.xz")
    root = stem.with_name(f"{stem.name}.rootfs.{form}")
    _compressed(meta, "tar.xz", lambda tar: add_nodes(tar, metadata))
    _compressed(root, form, lambda tar: _copy(rootfs, tar, "."))
    return Packed(meta, root, digest([meta, root]))


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 of the files one after the other."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                total.update(chunk)
    return total.hexdigest()


def _compressed(target: Path, form: str, fill: Callable[[tarfile.TarFile], None]) -> None:
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        with program.writing_to(_packer(form, partial)) as process:
            assert process.stdin is not None
            # The stream form never seeks, so it can be written into a pipe.
            with tarfile.open(fileobj=process.stdin, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as tar:
                fill(tar)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _packer(form: str, target: Path) -> list[str]:
    if form == "tar.zst":
        program.need("zstd", "zstd")
        return ["zstd", "-q", "-T0", "-6", "-f", "-o", str(target)]
    if form == "tar.xz":
        program.need("xz", "xz-utils")
        return ["sh", "-c", 'exec xz -T0 -6 > "$0"', str(target)]
    program.need("mksquashfs", "squashfs-tools")
    return ["mksquashfs", "-", str(target), "-tar", "-quiet", "-no-progress", "-comp", "zstd", "-noappend"]


def _copy(source: Path, target: tarfile.TarFile, prefix: str) -> None:
    with source.open("rb") as stream, tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as members:
        for member in members:
            renamed = _renamed(member, prefix)
            if not (member.ischr() or member.isblk() or renamed.name.startswith(f"{prefix}/dev/")):
                _add(target, renamed, members.extractfile(member) if member.isreg() else None)


def _renamed(member: tarfile.TarInfo, prefix: str) -> tarfile.TarInfo:
    renamed = copy(member)
    renamed.name = _inside(member.name, prefix)
    renamed.pax_headers = {key: value for key, value in member.pax_headers.items() if not _is_dropped(key)}
    if member.islnk():
        renamed.linkname = _inside(member.linkname, prefix)
    return renamed


def _is_dropped(header: str) -> bool:
    # The first three are written anew. ACLs in their kernel form hold numbers of this machine's byte order and make
    # tar mark the header as binary, which readers warn of; systemd-tmpfiles sets its own again at boot.
    return header in ("path", "linkpath", "size") or header.startswith("SCHILY.xattr.system.posix_acl")


def _inside(name: str, prefix: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Invalid(f"the root filesystem has an entry {name!r} that leaves it")
    return "/".join([prefix, *parts])


def _add(target: tarfile.TarFile, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
    target.addfile(member, content)
    # tarfile remembers every member it wrote; a system has tens of thousands.
    target.getmembers().clear()
