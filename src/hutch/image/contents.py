"""What an image holds, and whether it may be unpacked: told by reading all of its listing."""

import asyncio
import sys
from pathlib import Path

import msgspec

from hutch.errors import Invalid
from hutch.image import squashfs
from hutch.image.confined import Progress, shown
from hutch.image.formats import Compression, recognise_file
from hutch.image.metadata import Contents
from hutch.kernel.run import stream


class _Answer(msgspec.Struct):
    problem: str = ""


async def read(path: Path, role: str, limit: int, progress: Progress | None = None) -> Contents:
    """What the file holds as `role` (unified, metadata or rootfs); Invalid names what stands in the way.

    Every entry is looked at, and the compressed stream read to its end: absolute and climbing names, entries below
    symlinks, device nodes and a size over `limit` bytes are refused, so are truncated and corrupt files.
    """
    compression = await asyncio.to_thread(recognise_file, path)
    if compression is Compression.SQUASHFS:
        return await squashfs.Listing(path, role, limit).read()
    return await _tar(path, role, compression, limit, progress)


async def merged(metadata: Path, rootfs: Path, limit: int, progress: Progress | None = None) -> Contents:
    """What the two files of a split image hold."""
    head = await read(metadata, "metadata", limit)
    body = await read(rootfs, "rootfs", limit, progress)
    return msgspec.structs.replace(body, metadata=head.metadata, templates=head.templates)


async def _tar(path: Path, role: str, compression: str, limit: int, progress: Progress | None) -> Contents:
    argv: list[str | Path] = [
        sys.executable,
        "-I",
        "-m",
        "hutch.helper.tar_listing",
        path,
        role,
        compression,
        str(limit),
    ]
    with path.open("rb") as file, shown(file.fileno(), progress):
        async with stream(argv, stdin=file.fileno()) as process:
            assert process.stdout is not None
            out = await process.stdout.read()
    if problem := msgspec.json.decode(out, type=_Answer).problem:
        raise Invalid(f"the image {problem}")
    return msgspec.json.decode(out, type=Contents)
