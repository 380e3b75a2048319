"""The folder with the image files, where a file under its final name is always whole.

DIR/images/FINGERPRINT is the unified image or the metadata half, FINGERPRINT.rootfs the other half, and
FINGERPRINT.contents what was read from them. What arrives is written in a folder of its own below `incoming-` first.
"""

import asyncio
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hutch.errors import HutchError
from hutch.image import contents
from hutch.image.confined import Progress
from hutch.image.metadata import Contents

_INCOMING = "incoming-"
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Incoming:
    """A folder for files that may become an image."""

    folder: Path

    @property
    def main(self) -> Path:
        return self.folder / "image"

    @property
    def rootfs(self) -> Path:
        return self.folder / "rootfs"

    @property
    def is_split(self) -> bool:
        return self.rootfs.exists()


class Images:
    """The image files of one daemon."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def main(self, fingerprint: str) -> Path:
        return self.directory / fingerprint

    def rootfs(self, fingerprint: str) -> Path:
        return self.directory / f"{fingerprint}.rootfs"

    def is_split(self, fingerprint: str) -> bool:
        return self.rootfs(fingerprint).exists()

    def files(self, fingerprint: str) -> list[Path]:
        """The files that the fingerprint is the hash of, in order. Blocks."""
        return [self.main(fingerprint), *([self.rootfs(fingerprint)] if self.is_split(fingerprint) else [])]

    @asynccontextmanager
    async def incoming(self) -> AsyncIterator[Incoming]:
        """A folder that is gone, with what is still in it, when the block ends."""
        folder = Path(await asyncio.to_thread(self._new_folder))
        try:
            yield Incoming(folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _new_folder(self) -> str:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.mkdtemp(prefix=_INCOMING, dir=self.directory)

    async def place(self, arrived: Incoming, fingerprint: str, what: Contents) -> None:
        """Give the files their final names, durably, the main one last. Does nothing when they are there."""
        await asyncio.to_thread(self._place, arrived, fingerprint, what)

    def _place(self, arrived: Incoming, fingerprint: str, what: Contents) -> None:
        (arrived.folder / "contents").write_bytes(msgspec.json.encode(what))
        moves = [(arrived.folder / "contents", self.contents_path(fingerprint)), (arrived.main, self.main(fingerprint))]
        if arrived.is_split:
            moves.insert(0, (arrived.rootfs, self.rootfs(fingerprint)))
        for source, target in moves:
            _sync(source)
            source.rename(target)
        _sync(self.directory)

    def contents_path(self, fingerprint: str) -> Path:
        return self.directory / f"{fingerprint}.contents"

    async def contents(self, fingerprint: str, limit: Callable[[], Awaitable[int]]) -> Contents:
        """What the image holds; read from its files, within the limit in bytes, when the note of it is lost."""
        path = self.contents_path(fingerprint)
        try:
            data = await asyncio.to_thread(path.read_bytes)
            return msgspec.json.decode(data, type=Contents)
        except FileNotFoundError:
            return await self.inspect(await asyncio.to_thread(self.files, fingerprint), await limit())
        except msgspec.DecodeError as error:
            raise HutchError(f"{path} is damaged: remove it, it will be made again") from error

    async def inspect(self, files: list[Path], limit: int, progress: Progress | None = None) -> Contents:
        """What the file, or the two files, of an image hold; Invalid when they make no image."""
        if len(files) == 1:
            return await contents.read(files[0], "unified", limit, progress)
        return await contents.merged(files[0], files[1], limit, progress)

    async def remove(self, fingerprint: str) -> None:
        await asyncio.to_thread(self._remove, fingerprint)

    def _remove(self, fingerprint: str) -> None:
        for path in (self.main(fingerprint), self.rootfs(fingerprint), self.contents_path(fingerprint)):
            path.unlink(missing_ok=True)

    async def sweep(self, known: Iterable[str]) -> list[str]:
        """Remove what a crash left: half-arrived files and files of images that nobody recorded; their names."""
        return await asyncio.to_thread(self._sweep, set(known))

    def _sweep(self, known: set[str]) -> list[str]:
        if not self.directory.is_dir():
            return []
        strays = [path for path in self.directory.iterdir() if path.name.partition(".")[0] not in known]
        for path in strays:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return sorted(path.name for path in strays)


class Digest:
    """The hash of an image, fed file by file while they are written."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self.size = 0

    async def receive(self, source: AsyncIterable[bytes], path: Path) -> None:
        """Write what arrives to `path`. Memory holds a buffer of it; the disk and the hash are fed in a thread."""
        with await asyncio.to_thread(path.open, "wb") as file:
            buffer = bytearray()
            async for chunk in source:
                buffer += chunk
                if len(buffer) >= _BUFFER:
                    await asyncio.to_thread(self._take, file.fileno(), bytes(buffer))
                    buffer.clear()
            await asyncio.to_thread(self._take, file.fileno(), bytes(buffer))

    def _take(self, descriptor: int, data: bytes) -> None:
        self._sum.update(data)
        self.size += len(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise HutchError("no space left for the image file: free some on the filesystem of the images") from error

    async def add(self, path: Path) -> None:
        """Hash a file that is there already."""
        await asyncio.to_thread(self._read, path)

    def _read(self, path: Path) -> None:
        with path.open("rb") as file:
            while data := file.read(_BUFFER):
                self._sum.update(data)
                self.size += len(data)

    @property
    def fingerprint(self) -> str:
        return self._sum.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
