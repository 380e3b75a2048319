"""The folder that travels for each volume, as LXD lays it out: metadata.yaml and templates beside the mounted rootfs."""

import asyncio
import os
import shutil
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from hutch.image import templates
from hutch.kernel import tree
from hutch.service.parts import Parts

_LARGEST = 1 << 20


def _home(parts: Parts) -> Path:
    return parts.directory / "transfers"


@asynccontextmanager
async def folder(parts: Parts, origin: Path | None = None) -> AsyncIterator[Path]:
    """A folder for the while, with what the instance's folder `origin` says of its image."""
    path = _home(parts) / uuid4().hex
    try:
        await asyncio.to_thread(_make, path, origin)
        yield path
    finally:
        await tree.remove(path)


def _make(path: Path, origin: Path | None) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700)
    if origin is not None:
        _carry(origin, path)


async def files(directory: Path) -> dict[str, bytes]:
    """What an instance's folder says of its image, by path, for a transfer that has no stage."""
    return await asyncio.to_thread(_read, directory)


def _read(directory: Path) -> dict[str, bytes]:
    paths = [directory / templates.METADATA, *sorted((directory / templates.FOLDER).glob("*"))]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths if path.is_file()}


async def keep(found: Mapping[str, bytes], directory: Path) -> None:
    """Keep such files with the instance that they came with."""
    await asyncio.to_thread(_write, found, directory)


def _write(found: Mapping[str, bytes], directory: Path) -> None:
    for name, data in found.items():
        folder, _, plain = name.rpartition("/")
        if name != templates.METADATA and (folder != templates.FOLDER or plain in ("", ".", "..")):
            continue
        (directory / folder).mkdir(mode=0o700, exist_ok=True)
        (directory / name).write_bytes(data)


async def take(stage: Path, directory: Path) -> None:
    """Keep in the instance's folder what came beside its root."""
    await asyncio.to_thread(_carry, stage, directory)


def _carry(source: Path, target: Path) -> None:
    """Copy metadata and templates, plain files only: what another server sent may hold anything."""
    _carry_file(source / templates.METADATA, target / templates.METADATA)
    folder = source / templates.FOLDER
    if folder.is_dir() and not folder.is_symlink():
        (target / templates.FOLDER).mkdir(mode=0o700, exist_ok=True)
        for entry in folder.iterdir():
            _carry_file(entry, target / templates.FOLDER / entry.name)


def _carry_file(source: Path, target: Path) -> None:
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    with os.fdopen(descriptor, "rb") as file:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and len(data := file.read(_LARGEST + 1)) <= _LARGEST:
            target.write_bytes(data)


async def tidy(parts: Parts) -> None:
    """Remove what a crash left."""
    if await asyncio.to_thread(_home(parts).exists):
        await asyncio.to_thread(shutil.rmtree, _home(parts))
