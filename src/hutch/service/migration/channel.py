"""The websockets of a migration, the same for both sides: `control` for messages, `fs` and `criu` for streams of bytes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from hutch.errors import HutchError, Unavailable
from hutch.schema import protobuf
from hutch.schema.migration import Control
from hutch.schema.protobuf import Message
from hutch.service.parts import Parts
from hutch.work.operations import Operation, Socket

PATIENCE = 30.0
"""Seconds for the other side to connect."""
_REST = 600.0
"""Seconds for what has been sent to be settled once the other side has said that all is well."""

_WORD = 2.0
"""Seconds for the other side to say why it has stopped."""

Kind = TypeVar("Kind", bound=Message)
Result = TypeVar("Result")


class Channel:
    """The sockets of one migration. `criu` is there when a running guest's state is to travel."""

    def __init__(self, sockets: dict[str, Socket]) -> None:
        self.control, self.fs = sockets["control"], sockets["fs"]
        self.criu = sockets.get("criu")
        self.last_word: Control | None = None

    async def send(self, message: Message) -> None:
        """Send a message on `control`."""
        try:
            await self.control.send(protobuf.encode(message))
        except (ConnectionError, RuntimeError) as error:
            raise _broken() from error

    async def receive(self, kind: type[Kind]) -> Kind:
        """The next message on `control`."""
        data = await self.control.receive()
        if data is None:
            raise _broken()
        return protobuf.decode(data if isinstance(data, bytes) else data.encode(), kind)

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Tell the other side what goes wrong in the block."""
        try:
            yield
        except asyncio.CancelledError:
            await self.tell(HutchError("the operation was cancelled"))
            raise
        except Exception as error:
            await self.tell(error)
            raise

    async def tell(self, error: BaseException | None) -> None:
        """Say how it ended here; a side that has gone need not hear it."""
        message = None if error is None else str(error) or type(error).__name__
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(5):
                await self.send(Control(success=error is None, message=message))

    async def unless_told(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do the work, unless the other side says meanwhile that it failed, or goes away. `last_word` keeps its success."""
        doing = asyncio.ensure_future(work)
        listening = asyncio.ensure_future(self._listen())
        try:
            await asyncio.wait([doing, listening], return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                listening.result()
                await asyncio.wait([doing], timeout=_REST)
            if not doing.done():
                raise Unavailable("the other server is done with the migration, but not this one")
            if doing.exception() is not None and not listening.done():  # what went wrong there explains it better
                await asyncio.wait([listening], timeout=_WORD)
                if listening.done():
                    listening.result()
            return doing.result()
        finally:
            for each in (doing, listening):
                each.cancel()
            await asyncio.gather(doing, listening, return_exceptions=True)

    async def outcome(self) -> None:
        """Wait for the other side's last word; raises what went wrong there."""
        if self.last_word is None:
            await self._listen()

    async def _listen(self) -> None:
        word = await self.receive(Control)
        if not word.success:
            raise HutchError(f"the other server says: {word.message or 'the migration failed'}")
        self.last_word = word


def _broken() -> Unavailable:
    return Unavailable("the other server broke off the migration")


@asynccontextmanager
async def awaited(parts: Parts, operation: Operation, secrets: dict[str, str]) -> AsyncIterator[Channel]:
    """The channel once somebody has connected every websocket of the operation; `secrets` are by name."""
    futures = {name: operation.sockets[secret] for name, secret in secrets.items()}
    try:
        _, missing = await asyncio.wait(futures.values(), timeout=PATIENCE)
        if missing:
            raise Unavailable("Timed out waiting for connections")
        yield Channel({name: future.result() for name, future in futures.items()})
    finally:
        for future in operation.sockets.values():
            if future.done() and not future.cancelled():
                parts.tasks.spawn(future.result().close(), f"end of a websocket of {operation.id}")


def secrets(operation: Operation, *, live: bool) -> dict[str, str]:
    """Expect the websockets of a migration on the operation; their secrets, which its metadata shows."""
    return {name: operation.socket(name, at_top=True) for name in names(live=live)}


def names(*, live: bool) -> Collection[str]:
    return ("control", "fs", "criu") if live else ("control", "fs")
