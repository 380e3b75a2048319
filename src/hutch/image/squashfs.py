"""The listing of a squashfs image, read by a confined unsquashfs."""

import os
import re
from pathlib import Path

from hutch.errors import Invalid, ToolFailed
from hutch.image.confined import confined
from hutch.image.limits import HARMLESS, SMALL, TEMPLATES
from hutch.image.metadata import Contents
from hutch.kernel.run import stream

_LINE = re.compile(
    rb"^(?P<kind>[dlcbps-])\S{9}\S* +\d+/\d+ +(?:(?P<major>\d+), *(?P<minor>\d+)|(?P<size>\d+)) \S+ \S+ "
    rb"squashfs-root(?P<name>/[^\n]*|)$",
    re.MULTILINE,
)


class Listing:
    """The listing of a squashfs. A name may hold line ends and so add lines, but it cannot hide the line of another."""

    def __init__(self, path: Path, role: str, limit: int) -> None:
        self.path, self.role, self.limit = path, role, limit
        self.entries = self.size = 0
        self.nodes: list[str] = []
        self.small: dict[str, int] = {}
        self.has_root = role == "rootfs"

    async def read(self) -> Contents:
        await self._list()
        if not self.entries:
            raise Invalid("the image is an empty root filesystem")
        if self.role == "rootfs":
            return Contents(entries=self.entries, size=self.size, nodes=self.nodes)
        if "metadata.yaml" not in self.small:
            raise Invalid("the image has no metadata.yaml, so it is no image")
        if self.role == "unified" and not self.has_root:
            raise Invalid("the image has no rootfs directory")
        files = await self._contents()
        metadata = files.pop("metadata.yaml").decode(errors="replace")
        templates = {name.partition("/")[2]: data for name, data in files.items()}
        return Contents(metadata=metadata, templates=templates, entries=self.entries, size=self.size, nodes=self.nodes)

    async def _list(self) -> None:
        argv = confined(self.path, "-", "/usr/bin/unsquashfs", "-lln", "/archive")
        try:
            async with stream(argv) as process:
                assert process.stdout is not None
                rest = b""
                while chunk := await process.stdout.read(1 << 16):
                    lines, newline, rest = (rest + chunk).rpartition(b"\n")
                    self._add(lines + newline)
                self._add(rest)
        except ToolFailed as error:
            raise Invalid(f"the image is a squashfs that is truncated or corrupt: {_last(error)}") from error

    def _add(self, lines: bytes) -> None:
        for line in _LINE.finditer(lines):
            self.entries += 1
            kind, name = line["kind"], line["name"]
            if kind in b"cb":
                self._check_node(kind, name, int(line["major"]), int(line["minor"]))
            elif kind == b"-":
                self._count(name, int(line["size"]))
            elif kind == b"d" and name == b"/rootfs":
                self.has_root = True

    def _count(self, name: bytes, size: int) -> None:
        self.size += size
        if self.size > self.limit:
            raise Invalid(f"the image unpacks to more than {self.limit} bytes ({_text(name)!r} alone has {size})")
        if self.role == "rootfs" or not (name == b"/metadata.yaml" or name.startswith(b"/templates/")):
            return
        self.small[_text(name)] = size
        if size > SMALL or sum(self.small.values()) > TEMPLATES:
            raise Invalid(f"the image has as {_text(name)!r} a file of more than {SMALL} bytes")

    def _check_node(self, kind: bytes, name: bytes, major: int, minor: int) -> None:
        inside = _text(name if self.role == "rootfs" else name.removeprefix(b"/rootfs"))
        if kind != b"c" or HARMLESS.get(inside) != (major, minor):
            node = f"{_text(name)!r} ({'character' if kind == b'c' else 'block'} {major}:{minor})"
            raise Invalid(f"the image carries the device node {node}; remove it and pack the image again")
        self.nodes.append(_text(name))

    async def _contents(self) -> dict[str, bytes]:
        """The small files, which unsquashfs writes one after the other."""
        command = ("/usr/bin/unsquashfs", "-no-wildcards", "-cat", "/archive", *self.small)
        try:
            async with stream(confined(self.path, "-", *command)) as process:
                assert process.stdout is not None
                data = await process.stdout.read()
        except ToolFailed as error:
            raise Invalid(f"the image is a squashfs that is truncated or corrupt: {_last(error)}") from error
        files, at = {}, 0
        for name, size in self.small.items():
            files[name], at = data[at : at + size], at + size
        if at != len(data):
            raise Invalid("the image is a squashfs whose metadata cannot be read")
        return files


def _text(name: bytes) -> str:
    return os.fsdecode(name.removeprefix(b"/"))


def _last(error: ToolFailed) -> str:
    return error.stderr.splitlines()[-1] if error.stderr else f"unsquashfs ended with status {error.code}"
