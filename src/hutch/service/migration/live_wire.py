"""What two servers say while a running guest moves: words on `control`, trees on `fs`, files of images on `criu`."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hutch.errors import HutchError, Invalid, Unavailable
from hutch.kernel import changes
from hutch.kernel.changes import Changes
from hutch.schema import protobuf
from hutch.schema.base import decode, encode
from hutch.schema.migration import Control
from hutch.schema.move import Pass, Word
from hutch.service.migration.channel import Channel
from hutch.work.operations import Socket

BLOCK = 1 << 18
PATIENCE = 90.0
"""Seconds for the other side to say the next word while a guest waits for it."""

_PULSE, _SILENCE = 1.0, 10.0
_PULSE_WORD = encode(Word("pulse")).decode()

Result = TypeVar("Result")
Document = TypeVar("Document", bound=msgspec.Struct)
Told = Callable[[int], None]
"""Called in a thread with the bytes that have just been sent or received."""


class Broken(Unavailable):
    """The line to the other server broke."""


class Line:
    """The words, read all the time, so that a failure over there ends what is being done here."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._came: asyncio.Queue[bytes] = asyncio.Queue()
        self._failure: asyncio.Future[HutchError] = asyncio.get_running_loop().create_future()
        self._heard = time.monotonic()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._read(), name="words of a move"), asyncio.create_task(self._beat())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _beat(self) -> None:
        """A host that goes away without a word is noticed within seconds: a guest may be waiting."""
        with contextlib.suppress(Broken):
            while True:
                await asyncio.sleep(_PULSE)
                await self.say(Word("pulse"))
                if time.monotonic() - self._heard > _SILENCE:
                    self._fail(Broken("the other server has fallen silent"))

    async def _read(self) -> None:
        while (data := await self.channel.control.receive()) is not None:
            self._heard = time.monotonic()
            if isinstance(data, str):
                if data != _PULSE_WORD:
                    self._came.put_nowait(data.encode())
                continue
            word = protobuf.decode(data, Control)
            if word.success:
                self.channel.last_word = word
                return
            self._fail(HutchError(f"the other server says: {word.message or 'the move failed'}"))
            return
        self._fail(Broken("the other server went away"))

    def _fail(self, error: HutchError) -> None:
        if not self._failure.done():
            self._failure.set_result(error)

    async def say(self, word: msgspec.Struct) -> None:
        try:
            await self.channel.control.send(encode(word).decode())
        except (ConnectionError, RuntimeError) as error:
            raise Broken("the other server went away") from error

    async def hear(self, kind: type[Document], patience: float | None = None) -> Document:
        """The next word. Raises what the other side says went wrong, Broken when it is gone or silent for so long."""
        try:
            async with asyncio.timeout(patience):
                return decode(await self.during(self._came.get()), kind)
        except TimeoutError:
            raise Broken(f"the other server said nothing for {patience:.0f} seconds") from None

    async def expect(self, step: str, patience: float | None = None) -> Word:
        word = await self.hear(Word, patience)
        if word.step != step:
            raise Invalid(f"the other server says {word.step!r} where {step!r} was to come: {word.reason}")
        return word

    async def during(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do the work, unless the other side fails or goes away meanwhile."""
        doing = asyncio.ensure_future(work)
        try:
            both: set[asyncio.Future[Any]] = {doing, self._failure}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise self._failure.result()
            return doing.result()
        finally:
            if not doing.done():
                doing.cancel()
                await asyncio.gather(doing, return_exceptions=True)


async def send_pass(socket: Socket, about: Pass, root: int, changed: Changes, told: Told, limit: int = 0) -> None:
    """One pass over the tree behind the descriptor, at most `limit` bytes a second unless that is 0."""
    await socket.send(encode(about).decode())
    out = _Out(socket, told, limit)

    def work() -> None:
        changes.pack(root, changed, out)
        out.flush()

    await _threaded(socket, work)


async def receive_pass(socket: Socket, roots: dict[str, Path], told: Told) -> Pass:
    """Write the next pass to the tree that it is about."""
    about = decode(_text(await socket.receive()), Pass)
    if about.piece not in roots:
        raise Invalid(f"the other server sends {about.piece!r}, which was not asked for")
    source = _In(socket, told)

    def work() -> None:
        root = os.open(roots[about.piece], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            changes.unpack(root, source)
        finally:
            os.close(root)

    await _threaded(socket, work)
    return about


async def send_files(socket: Socket, folder: Path, told: Told) -> None:
    """The plain files of a flat folder."""
    out = _Out(socket, told)

    def work() -> None:
        for path in sorted(folder.iterdir()):
            if path.is_file():
                out.flush()
                out.text(path.name)
                with path.open("rb") as file:
                    while data := file.read(BLOCK * 4):
                        out(data)
        out.flush()
        out.text("")

    await _threaded(socket, work)


async def receive_files(socket: Socket, folder: Path, told: Told) -> None:
    """What `send_files` sends, into the folder."""
    source = _In(socket, told)

    def work() -> None:
        name = source.text()
        while name:
            if "/" in name or name.startswith("."):
                raise Invalid(f"{name!r} is no name of an image file")
            with (folder / name).open("wb", buffering=0) as file:
                name = source.into(file.fileno())

    await _threaded(socket, work)


def _text(data: bytes | str | None) -> bytes:
    if not isinstance(data, str):
        raise Broken("the other server went away")
    return data.encode()


class _Out:
    """A socket as a thread writes to it: small pieces are gathered."""

    def __init__(self, socket: Socket, told: Told, limit: int = 0) -> None:
        self._socket, self._told, self._limit = socket, told, limit
        self._loop = asyncio.get_running_loop()
        self._kept: list[bytes] = []
        self._size = 0
        self._began, self._sent = time.monotonic(), 0

    def __call__(self, data: bytes) -> None:
        self._kept.append(data)
        self._size += len(data)
        if self._size >= BLOCK:
            self.flush()

    def flush(self) -> None:
        if self._size:
            self._send(b"".join(self._kept))
            self._told(self._size)
            self._sent += self._size
            if self._limit:
                time.sleep(max(0.0, self._began + self._sent / self._limit - time.monotonic()))
            self._kept, self._size = [], 0

    def text(self, word: str) -> None:
        self._send(word)

    def _send(self, data: bytes | str) -> None:
        asyncio.run_coroutine_threadsafe(self._socket.send(data), self._loop).result()


class _In:
    """A socket as a thread reads from it."""

    def __init__(self, socket: Socket, told: Told) -> None:
        self._socket, self._told = socket, told
        self._loop = asyncio.get_running_loop()

    def _receive(self) -> bytes | str:
        data = asyncio.run_coroutine_threadsafe(self._socket.receive(), self._loop).result()
        if data is None:
            raise Broken("the other server went away")
        return data

    def __call__(self) -> bytes:
        data = self._receive()
        if isinstance(data, str):
            raise Invalid("the other server ended a stream too early")
        self._told(len(data))
        return data

    def text(self) -> str:
        data = self._receive()
        if not isinstance(data, str):
            raise Invalid("the other server sends data where a name was to come")
        return data

    def into(self, file: int) -> str:
        """Write data until a text comes: that one."""
        while not isinstance(data := self._receive(), str):
            self._told(len(data))
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
        return data


async def _threaded(socket: Socket, work: Callable[[], None]) -> None:
    """Run it in a thread. A cancelled caller waits for its end, which closing the socket brings about."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await socket.close()
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise
    except (ConnectionError, RuntimeError) as error:
        raise Broken("the other server went away") from error
    except (ValueError, msgspec.DecodeError) as error:
        raise Invalid(f"the other server sends what is no part of a move: {error}") from error
