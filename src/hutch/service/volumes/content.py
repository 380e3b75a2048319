"""The file that a volume of content type block or iso consists of."""

import asyncio
import os
from pathlib import Path

from hutch.errors import Invalid
from hutch.kernel import mount
from hutch.service.volumes.settings import AS_STORED
from hutch.storage.base import Fill, StorageDriver, Volume

FILE = "root.img"


def empty(size: int) -> Fill:
    """Fills a volume with a sparse file of `size` bytes."""

    async def fill(root: Path) -> None:
        await asyncio.to_thread(_truncate, root / FILE, size)

    return fill


def _truncate(path: Path, size: int) -> None:
    with path.open("ab") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(size)


async def resize(pool: StorageDriver, volume: Volume, size: int) -> None:
    """Make the file larger. Invalid when it would become smaller, which would cut off what is in it."""
    with mount.closing(await pool.mount(volume, AS_STORED)) as tree:
        path = Path(f"/proc/self/fd/{tree}") / FILE
        there = (await asyncio.to_thread(path.stat)).st_size
        if size < there:
            raise Invalid(f"Block volumes cannot be shrunk: {volume.name} has {there} bytes")
        if size > there:
            await asyncio.to_thread(_truncate, path, size)
