"""Joins this terminal, or the program's own streams, with a command in an instance or with its console.

The streams are the websockets that an operation offers: one per descriptor, and `control` for the size of the terminal
and for signals. The end of a stream is an empty text frame.
"""

import asyncio
import contextlib
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from typing import Any

from hutch import errors
from hutch.cli.session import Session
from hutch.client.connection import Document, url
from hutch.client.websocket import Socket, is_closed, is_data, is_end, sockets

FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
BLOCK = 1 << 16
ESCAPE, DETACH = b"\x01", b"q"

Filter = Callable[[bytes], bytes | None]


def size() -> tuple[int, int]:
    """Columns and lines of the terminal."""
    for descriptor in (1, 0, 2):
        with contextlib.suppress(OSError):
            found = os.get_terminal_size(descriptor)
            if found.columns and found.lines:
                return found.columns, found.lines
    return 80, 24


def execute(session: Session, instance: str, wanted: Document, *, stdin: bool = True) -> int:
    """Run a command in an instance with our own streams; its exit status."""
    interactive = bool(wanted["interactive"])
    if interactive:
        wanted["width"], wanted["height"] = size()
    reply = session.client.request("POST", url("instances", instance, "exec"), wanted)
    work = _interactive(session, reply, None) if interactive else _separate(session, reply, stdin)
    with raw_terminal() if interactive else contextlib.nullcontext():
        asyncio.run(work)
    done = session.finish(reply)
    return int((done.get("metadata") or {}).get("return", 255))


def console(session: Session, instance: str) -> int:
    """Stay at the console of an instance until it goes away or a person types Ctrl-a q."""
    width, height = size()
    wanted = {"width": width, "height": height, "type": "console"}
    reply = session.client.request("POST", url("instances", instance, "console"), wanted)
    print("To detach from the console, press: <ctrl>+a q", file=sys.stderr)
    keys = DetachKeys()
    with raw_terminal():
        asyncio.run(_interactive(session, reply, keys))
    if sys.stdout.isatty():
        print()
    if not keys.detached:
        session.finish(reply)
    return 0


class DetachKeys:
    """Looks for Ctrl-a q in what is typed. Ctrl-a twice sends one."""

    def __init__(self) -> None:
        self.escaped, self.detached = False, False

    def __call__(self, typed: bytes) -> bytes | None:
        """What is to be sent; None when the person wants to leave."""
        sent = bytearray()
        for number in typed:
            key = bytes([number])
            if not self.escaped:
                self.escaped = key == ESCAPE
                sent += b"" if self.escaped else key
                continue
            self.escaped = False
            if key == DETACH:
                self.detached = True
                return None
            sent += ESCAPE if key == ESCAPE else ESCAPE + key
        return bytes(sent)


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Keys go to the guest one by one while the block lasts; nothing is done when there is no terminal."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _streams(reply: Any) -> dict[str, str]:
    fds = ((reply.metadata or {}).get("metadata") or {}).get("fds")
    if not fds:
        raise errors.HutchError("the daemon offered no streams for this operation")
    return dict(fds)


async def _interactive(session: Session, reply: Any, keys: DetachKeys | None) -> None:
    """One stream both ways, until the other side ends it or the person detaches."""
    fds = _streams(reply)
    async with sockets(session.client) as opener:
        control = await opener.stream(reply.operation, fds["control"])
        data = await opener.stream(reply.operation, fds["0"])
        with _forwarding(control, interactive=True):
            typing = asyncio.create_task(_send_input(data, keys))
            receiving = asyncio.create_task(_receive(data, 1))
            await asyncio.wait([receiving, *([typing] if keys else [])], return_when=asyncio.FIRST_COMPLETED)
            await _cancelled(typing, receiving)
        await _close(data, control)


async def _separate(session: Session, reply: Any, stdin: bool) -> None:
    """Three streams, until stdout and stderr have ended."""
    fds = _streams(reply)
    async with sockets(session.client) as opener:
        control = await opener.stream(reply.operation, fds["control"]) if "control" in fds else None
        streams = [await opener.stream(reply.operation, fds[name]) for name in ("0", "1", "2")]
        with _forwarding(control, interactive=False):
            feeding = asyncio.create_task(_send_input(streams[0], None) if stdin else _end(streams[0]))
            listening = asyncio.create_task(_drain(streams[0]))
            await asyncio.gather(_receive(streams[1], 1), _receive(streams[2], 2))
            await _cancelled(feeding, listening)
        await _close(*streams, *([control] if control else []))


async def _receive(source: Socket, descriptor: int) -> None:
    """Write what arrives to a descriptor of ours, at the pace of whoever reads it."""
    async for message in source:
        if is_data(message):
            await asyncio.to_thread(_write_all, descriptor, message.data)
        elif is_end(message):
            return


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


async def _send_input(target: Socket, keys: DetachKeys | None) -> None:
    """Send our standard input to its end; with `keys`, return when the person detaches."""
    async for block in _input():
        data = keys(block) if keys else block
        if data is None:
            return
        if data:
            try:
                await target.send_bytes(data)
            except (ConnectionError, RuntimeError):
                return
    await _end(target)
    if keys:  # the console goes on when there is nothing more to type
        await asyncio.Event().wait()


async def _end(target: Socket) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):
        await target.send_str("")


async def _input() -> Any:
    """Blocks of the standard input. A thread reads: neither files nor all devices can be waited for."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=4)

    def read() -> None:
        block = b"-"
        with contextlib.suppress(RuntimeError):  # the loop ended first
            while block:
                try:
                    block = os.read(0, BLOCK)
                except OSError:
                    block = b""
                asyncio.run_coroutine_threadsafe(queue.put(block), loop).result()

    threading.Thread(target=read, daemon=True).start()
    while block := await queue.get():
        yield block


@contextlib.contextmanager
def _forwarding(control: Socket | None, *, interactive: bool) -> Iterator[None]:
    """Signals that reach us, and with a terminal its size, are passed on while the block lasts."""
    if control is None:
        yield
        return
    loop, running = asyncio.get_running_loop(), set()

    def send(document: Document) -> None:
        task = loop.create_task(_tell(control, document))
        running.add(task)
        task.add_done_callback(running.discard)

    def resize() -> None:
        width, height = size()
        send({"command": "window-resize", "args": {"width": str(width), "height": str(height)}})

    for number in FORWARDED:
        loop.add_signal_handler(number, send, {"command": "signal", "signal": int(number)})
    if interactive:
        loop.add_signal_handler(signal.SIGWINCH, resize)
    watching = loop.create_task(_drain(control))
    try:
        yield
    finally:
        watching.cancel()
        for number in (*FORWARDED, signal.SIGWINCH):
            loop.remove_signal_handler(number)


async def _tell(control: Socket, document: Document) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):
        await control.send_json(document)


async def _drain(source: Socket) -> None:
    """Read a stream that only takes, so that the daemon's pings on it are answered."""
    async for message in source:
        if is_closed(message):
            return


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, BrokenPipeError | errors.HutchError):
            raise result


async def _close(*streams: Socket) -> None:
    for stream in streams:
        with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
            await asyncio.wait_for(stream.close(), 1)
