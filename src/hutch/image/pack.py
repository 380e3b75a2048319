"""Packs a root filesystem with its metadata and templates into a unified image, hashed while it is written."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from hutch.errors import HutchError, ToolFailed
from hutch.image import metadata, templates
from hutch.image.files import Digest, Incoming
from hutch.image.formats import Compression, Packer
from hutch.image.metadata import Metadata
from hutch.kernel.run import stream

Written = Callable[[int], None]
"""Is told how many bytes of the image there are by now."""

_CHUNK = 1 << 20
_TAR = (
    *("tar", "--create", "--file=-", "--numeric-owner", "--sparse", "--acls"),
    *("--xattrs", "--xattrs-include=user.*", "--xattrs-include=security.capability"),
    # The root becomes `rootfs` in names and hard links, while targets of symlinks stay what they are.
    "--transform=s,^\\.,rootfs,rhS",
)


async def pack(
    root: int,
    arrived: Incoming,
    about: Metadata,
    template_files: Path | None,
    packer: Packer,
    written: Written | None = None,
) -> Digest:
    """Write the image of the root behind the descriptor, ids as it shows them, to `arrived.main`; its hash and size.

    The root must be at rest. `template_files` is the folder with the templates that `about` names.
    """
    stage = await asyncio.to_thread(_stage, arrived.folder, about, template_files)
    argv = [*_TAR, *_compressor(packer), f"--directory={stage}", templates.METADATA, templates.FOLDER]
    argv += [f"--directory=/proc/self/fd/{root}", "."]
    try:
        if packer.compression is Compression.SQUASHFS:
            return await _squash(argv, root, arrived.main, packer, written)
        digest = Digest()
        async with stream(argv, pass_fds=(root,), env={"LC_ALL": "C"}) as tar:
            assert tar.stdout is not None
            await digest.receive(_told(tar.stdout, written), arrived.main)
        return digest
    except ToolFailed as error:
        raise _meaning(error) from error


def _stage(folder: Path, about: Metadata, template_files: Path | None) -> Path:
    stage = folder / "stage"
    (stage / templates.FOLDER).mkdir(parents=True)
    (stage / templates.METADATA).write_text(metadata.render(about))
    for name in sorted({template.template for template in about.templates.values()}):
        if template_files is not None and (template_files / name).is_file():
            target = stage / templates.FOLDER / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((template_files / name).read_bytes())
    return stage


def _compressor(packer: Packer) -> list[str]:
    if packer.compression in (Compression.NONE, Compression.SQUASHFS):
        return []
    return [f"--use-compress-program={' '.join(packer.argv)}"]


async def _told(source: asyncio.StreamReader, written: Written | None) -> AsyncIterator[bytes]:
    size = 0
    while chunk := await source.read(_CHUNK):
        size += len(chunk)
        if written is not None:
            written(size)
        yield chunk


async def _squash(argv: list[str], root: int, target: Path, packer: Packer, written: Written | None) -> Digest:
    """mksquashfs needs a file that it can seek in, so the hash comes last."""
    squash = ["mksquashfs", "-", str(target), "-tar", "-quiet", "-no-progress", "-noappend", *packer.argv]
    reader, writer = os.pipe()
    async with AsyncExitStack() as stack:
        with os.fdopen(reader, "rb"), os.fdopen(writer, "wb"):
            tar = stream(argv, pass_fds=(root,), stdout=writer, env={"LC_ALL": "C"})
            await stack.enter_async_context(tar)
            await stack.enter_async_context(stream(squash, stdin=reader))
    digest = Digest()
    await digest.add(target)
    if written is not None:
        written(digest.size)
    return digest


def _meaning(error: ToolFailed) -> HutchError:
    for line in error.stderr.splitlines():
        if "No space left on device" in line:
            return HutchError("no space left for the image file: free some on the filesystem of the images")
    return HutchError(f"the image cannot be packed: {error}")
