"""SFTP into instances: a helper process that has entered the guest, for each client."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import hutch.helper
from hutch.errors import Unavailable
from hutch.kernel import namespaces, pidfd, run
from hutch.runtime.base import Running
from hutch.service.instances import expand, volume
from hutch.service.parts import Parts, instance_lock

_PROGRAM = Path(hutch.helper.__file__).parent / "sftp.py"


class Session:
    """`socket` carries SFTP and does not block.

    `over` is set when the guest or the daemon ends, or when somebody needs the volume of a stopped instance.
    """

    def __init__(self, ours: socket.socket) -> None:
        self.socket = ours
        self.over = asyncio.Event()


@asynccontextmanager
async def session(parts: Parts, project: str, name: str) -> AsyncIterator[Session]:
    """An SFTP server for the instance while the block lasts."""
    parts.state.instances.get(project, name)
    async with AsyncExitStack() as stack:
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        ours.setblocking(False)
        found = Session(ours)
        running = parts.runtime.running(project, name)
        if running is None:
            lock = instance_lock(project, name)
            await stack.enter_async_context(parts.locks.hold(lock))
            running = parts.runtime.running(project, name)
        with theirs:
            if running is not None:
                argv = await _into_guest(running, found, stack)
            else:
                argv = await _into_volume(parts, project, name, stack)
                waiting = parts.tasks.spawn(_wanted(parts, lock, found), f"SFTP of {name}")
                stack.callback(waiting.cancel)
            await stack.enter_async_context(_helper(argv, theirs))
            ending = parts.tasks.spawn(_ended(parts, found), f"end of SFTP of {name}")
            stack.callback(ending.cancel)
        yield found


async def _ended(parts: Parts, found: Session) -> None:
    await parts.lifetime.ending.wait()
    found.over.set()


async def _into_guest(running: Running, found: Session, stack: AsyncExitStack) -> list[str]:
    fd = pidfd.open_pid(running.init)
    if fd is None:
        raise Unavailable("the instance is just stopping: try again")
    stack.callback(os.close, fd)
    if await asyncio.to_thread(pidfd.start_time, running.init) != running.started:
        raise Unavailable("the instance is just stopping: try again")
    watch = pidfd.Watch(running.init, found.over.set)
    stack.callback(watch.close)
    return ["guest", str(fd)]


async def _into_volume(parts: Parts, project: str, name: str, stack: AsyncExitStack) -> list[str]:
    record = parts.state.instances.get(project, name)
    idmap = volume.idmap_of(expand.of(parts.state, record)[0])
    users = await namespaces.user(idmap)
    if users is not None:
        stack.callback(os.close, users)
    root = await volume.pool_of(parts, record).mount(volume.of(record), idmap)
    stack.callback(os.close, root)
    return ["mount", str(root), *([] if users is None else [str(users)])]


async def _wanted(parts: Parts, lock: str, found: Session) -> None:
    await parts.locks.wanted(lock)
    found.over.set()


@asynccontextmanager
async def _helper(words: list[str], theirs: socket.socket) -> AsyncIterator[None]:
    """The program, ended with the block: nothing of a volume may stay in use behind it."""
    process = await run.start(
        [sys.executable, "-I", _PROGRAM, *words],
        stdin=theirs.fileno(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=[int(word) for word in words[1:]],
    )
    try:
        yield
    finally:
        run.kill(process)
        await asyncio.shield(process.wait())


async def relay(found: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes between the client and the helper until one of them, or the session, ends."""
    ways = [
        asyncio.ensure_future(_in(reader, found.socket)),
        asyncio.ensure_future(_out(found.socket, writer)),
        asyncio.ensure_future(found.over.wait()),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _in(reader: asyncio.StreamReader, socket: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while block := await reader.read(1 << 18):
            await loop.sock_sendall(socket, block)
            await asyncio.sleep(0)


async def _out(socket: socket.socket, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while block := await loop.sock_recv(socket, 1 << 18):
            writer.write(block)
            await writer.drain()
            await asyncio.sleep(0)
