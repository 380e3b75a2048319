"""What a backup's file holds, and the trees in it written out: read and unpacked as untrusted images are."""

import asyncio
import sys
from pathlib import Path

import msgspec

from hutch.errors import Invalid, ToolFailed
from hutch.image import unpack
from hutch.image.confined import Progress, confined, shown
from hutch.image.formats import Compression, recognise_file
from hutch.image.metadata import Contents as Small
from hutch.kernel.run import stream


class Contents(msgspec.Struct, kw_only=True, frozen=True):
    """`index`, `config` and `metadata` are the texts of index.yaml, backup.yaml and metadata.yaml; `trees` what can be
    unpacked, as backup/container/rootfs or backup/volume.img; the rest as of an image."""

    problem: str = ""
    index: str = ""
    config: str = ""
    metadata: str = ""
    templates: dict[str, bytes] = {}
    trees: list[str] = []
    entries: int = 0
    size: int = 0
    nodes: list[str] = []


async def read(path: Path, limit: int, progress: Progress | None = None) -> Contents:
    """What the file holds; Invalid names what stands in the way. At most `limit` bytes may come out of it."""
    compression = await _compression(path)
    argv: list[str | Path] = [sys.executable, "-I", "-m", "hutch.helper.backup_listing", path, compression, str(limit)]
    with path.open("rb") as file, shown(file.fileno(), progress):
        async with stream(argv, stdin=file.fileno()) as process:
            assert process.stdout is not None
            out = await process.stdout.read()
    found = msgspec.json.decode(out, type=Contents)
    if found.problem:
        raise Invalid(f"the backup {found.problem}")
    return found


async def _compression(path: Path) -> Compression:
    try:
        compression = await asyncio.to_thread(recognise_file, path)
    except Invalid as error:
        raise Invalid(str(error).replace("image", "backup")) from error
    if compression is Compression.SQUASHFS:
        raise Invalid("the backup is a squashfs; a backup is a tar, plain or packed with gzip, bzip2, xz, lzma or zstd")
    return compression


async def write(path: Path, contents: Contents, tree: str, target: Path, progress: Progress | None = None) -> None:
    """Write a tree of the backup into the empty directory `target`, with the guest's own ids; a file of a block volume
    as `root.img`."""
    compression = await _compression(path)
    await asyncio.to_thread(unpack.check_room, Small(size=contents.size, entries=contents.entries), target)
    command = [*unpack.TAR, *unpack.decompressor(compression), *(f"--exclude={node}" for node in contents.nodes)]
    command += ["--directory=/stage/rootfs"]
    if tree.endswith((".img", ".iso")):
        command += ["--transform=s,.*,root.img,", tree]
    else:
        command += [f"--strip-components={tree.count('/') + 1}", tree]
    try:
        with path.open("rb") as file, shown(file.fileno(), progress):
            async with stream(confined(path, target, *command), stdin=file.fileno(), env={"LC_ALL": "C"}):
                pass
    except ToolFailed as error:
        raise unpack.meaning(error, target, "backup") from error
