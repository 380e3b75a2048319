"""The streams of a command that runs in a guest, carried between its descriptors and a client's websockets."""

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import Coroutine, Mapping
from contextlib import ExitStack
from typing import Any

from hutch.errors import Unavailable
from hutch.kernel import pipes
from hutch.runtime.enter import Session
from hutch.work.operations import Socket

log = logging.getLogger(__name__)

_BLOCK = 1 << 18
_SILENCE, _GRACE = 0.1, 1.0
"""Seconds for which a terminal without its command may be silent, and a shell may take to hang up."""


class Attached:
    """A command that runs, and the coroutines between its descriptors and the client's sockets.

    `ending` is set when the daemon is to end: the command then meets the end of its streams, as when the daemon is killed.
    """

    def __init__(self, session: Session, ending: asyncio.Event) -> None:
        self.session, self.ending = session, ending
        self.sent: set[Socket] = set()
        self.gone = asyncio.Event()
        self.over = asyncio.Event()

    async def see_through(
        self, outputs: list[Coroutine[Any, Any, None]], inputs: list[Coroutine[Any, Any, None]]
    ) -> int:
        """The exit code, once every output has been sent to its end. A client that goes away, or the operation's end, kills."""
        inbound = [asyncio.ensure_future(each) for each in inputs]
        ended = asyncio.gather(self._code(), *outputs)
        gone, ending = asyncio.ensure_future(self.gone.wait()), asyncio.ensure_future(self.ending.wait())
        try:
            await asyncio.wait([ended, gone, ending], return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return int(ended.result()[0])
            if self.ending.is_set():
                raise Unavailable("the daemon ends, and the command goes on without its streams")
            await self._hang_up()
            return await self.session.wait()
        except asyncio.CancelledError:
            self.session.send(signal.SIGKILL, group=True)
            raise
        finally:
            rest = [ended, gone, ending, *inbound]
            for each in rest:
                each.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    async def _hang_up(self) -> None:
        """End what runs for nobody. A shell may first tell its jobs, and one that was made to outlive it (nohup) does."""
        if self.session.master is not None:
            self.session.send(signal.SIGHUP, group=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await self.session.wait()
        self.session.send(signal.SIGKILL, group=True)

    async def _code(self) -> int:
        try:
            return await self.session.wait()
        finally:
            self.over.set()

    async def pump(self, fd: int, socket: Socket) -> None:
        """Send what the command writes, and the mark of its end."""
        try:
            while data := await self._read(fd):
                await socket.send(data)
                # A fast client would never let anybody else have a turn.
                await asyncio.sleep(0)
            await socket.send("")
        except (ConnectionError, RuntimeError):
            self.gone.set()
        self.sent.add(socket)

    async def _read(self, fd: int) -> bytes:
        """The next output. A terminal that outlives its command, because something in the guest holds it, ends when it is silent."""
        if fd != self.session.master:
            return await pipes.read(fd, _BLOCK)
        reading = asyncio.ensure_future(pipes.read(fd, _BLOCK))
        over = asyncio.ensure_future(self.over.wait())
        try:
            await asyncio.wait([reading, over], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([reading], timeout=_SILENCE)
            return reading.result() if reading.done() else b""
        finally:
            over.cancel()
            reading.cancel()

    async def watch(self, socket: Socket) -> None:
        """See to it that a client's going away is noticed on a socket that it only reads."""
        while await socket.receive() is not None:
            pass
        self._left(socket)

    def _left(self, socket: Socket) -> None:
        if socket not in self.sent:
            self.gone.set()

    async def feed_pipe(self, socket: Socket, fd: int, stdin: ExitStack) -> None:
        """Write to the command what comes, and close its input at the mark of the end, or with the socket."""
        reading = True
        while (data := await socket.receive()) is not None:
            if data and reading:
                reading = await pipes.write(fd, data.encode() if isinstance(data, str) else data)
            elif data == "":
                stdin.close()
                reading = False
        stdin.close()

    async def feed_terminal(self, master: int, socket: Socket) -> None:
        while (data := await socket.receive()) is not None:
            if data:
                await pipes.write(master, data.encode() if isinstance(data, str) else data)
        self._left(socket)

    async def obey(self, connected: asyncio.Future[Socket]) -> None:
        """Do what the control socket says."""
        control = await asyncio.shield(connected)
        while (text := await control.receive()) is not None:
            try:
                self._do(json.loads(text))
            except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
                log.info("a control message of an exec is not understood: %s: %s", text[:200], error)
        self.gone.set()

    def _do(self, message: Mapping[str, Any]) -> None:
        match message.get("command"):
            case "window-resize":
                size = message["args"]
                self.session.resize(int(size["width"]), int(size["height"]))
            case "signal" if (number := int(message["signal"])) in signal.valid_signals():
                self.session.send(number)
