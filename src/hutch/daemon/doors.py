"""The sockets of the guest API: who comes in is proven to be of the guest, and no guest takes more than its share.

A guest that connects or asks too much waits, in the kernel's short queue; the others are served.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from hutch.api import guest
from hutch.errors import HutchError
from hutch.kernel import peers
from hutch.service.parts import Parts, instance_lock

log = logging.getLogger(__name__)

SOCKET = "sock"
_CONNECTIONS, _QUEUE = 32, 16
_RATE, _BURST = 100.0, 200.0
_CHANGE = 20
"""What a request that may be written to the disk counts as."""

_LINE, _BODY = 8190, 64 << 10
_IDLE, _GOODBYE, _FULL = 60.0, 0.2, 0.1


class Pace:
    """So many requests a second, and some more at once. `delay` is how long the next one has to wait."""

    def __init__(self) -> None:
        self._left, self._seen = _BURST, 0.0

    def delay(self, now: float, cost: int = 1) -> float:
        """Take one, or one that counts as several. Seconds until it is due, 0 as a rule."""
        self._left = min(_BURST, self._left + (now - self._seen) * _RATE) - cost
        self._seen = now
        return max(0.0, -self._left / _RATE)


class Door:
    """One guest's listening socket and who came in by it."""

    def __init__(self, parts: Parts, project: str, name: str, listener: socket.socket) -> None:
        self.parts, self.project, self.name = parts, project, name
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._pace = Pace()
        self._entering: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._root = self._server(self._serve)
        self._others = self._server(self._refuse)
        self._listen()

    def _server(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> web.Server:
        def request(message, payload, protocol, writer, task) -> web.BaseRequest:  # type: ignore[no-untyped-def]
            return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=_BODY)

        return web.Server(
            handler, request_factory=request, access_log=None, keepalive_timeout=_IDLE, max_field_size=_LINE
        )

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(seconds, self._listen)

    def _accept(self) -> None:
        if len(self._root.connections) + len(self._others.connections) + len(self._entering) >= _CONNECTIONS:
            self._rest(_FULL)
            return
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # The guest has gone again, or the daemon has no descriptor left, which would be so at once again.
            self._rest(_FULL)
            return
        connection.setblocking(False)
        if delay := self._pace.delay(self._loop.time()):
            self._rest(delay)
        task = self.parts.tasks.spawn(self._enter(connection), f"a guest's way into its API, {self.name}")
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)

    async def _enter(self, connection: socket.socket) -> None:
        try:
            server = await self._server_for(connection)
        except (HutchError, OSError):
            server = None
        except BaseException:
            connection.close()
            raise
        if server is None:
            log.info("instance %s: somebody who is not of the guest came to its API and was sent away", self.name)
            connection.close()
            return
        await self._loop.connect_accepted_socket(server, connection)

    async def _server_for(self, connection: socket.socket) -> web.Server | None:
        runtime = self.parts.runtime
        running = runtime.running(self.project, self.name)
        if running is None:
            # The guest is up a moment before the runtime says so.
            async with self.parts.locks.hold(instance_lock(self.project, self.name)):
                running = runtime.running(self.project, self.name)
        if running is None:
            return None
        known = await asyncio.to_thread(_known, connection, running.init)
        return None if known is None else self._root if known else self._others

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        await self._in_turn(1 if http.method == "GET" else _CHANGE)
        return await guest.serve(self.parts, self.project, self.name, http)

    async def _refuse(self, http: web.BaseRequest) -> web.StreamResponse:
        await self._in_turn()
        return await guest.refuse(http)

    async def _in_turn(self, cost: int = 1) -> None:
        if delay := self._pace.delay(self._loop.time(), cost):
            await asyncio.sleep(delay)

    async def close(self) -> None:
        self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()
        self._listener.close()
        self.parts.guest_events.end(self.project, self.name)
        for task in self._entering:
            task.cancel()
        await asyncio.gather(*self._entering, return_exceptions=True)
        await asyncio.gather(self._root.shutdown(_GOODBYE), self._others.shutdown(_GOODBYE))


def _known(connection: socket.socket, init: int) -> bool | None:
    """Whether the peer is the guest's root; None when it is not of the guest at all. Blocks."""
    with peers.held(connection) as (peer, _):
        if not peers.is_of_guest(peer.pid, init):
            return None
        return peers.is_root_of(peer, init)


class Doors:
    """Every guest's door. `parts` is answered once they are complete."""

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._parts = parts
        self._doors: dict[tuple[str, str], Door] = {}

    async def open(self, project: str, name: str) -> Path:
        parts = self._parts()
        folder = parts.guest_folder(project, name)
        if (project, name) not in self._doors:
            listener = await asyncio.to_thread(listen_in, folder)
            self._doors[project, name] = Door(parts, project, name, listener)
        return folder

    async def close(self, project: str, name: str) -> None:
        if (door := self._doors.pop((project, name), None)) is None:
            return
        await door.close()
        path = self._parts().guest_folder(project, name) / SOCKET
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def stop(self) -> None:
        """At the daemon's end: the sockets stay in the folders, until the next daemon puts its own in their place."""
        doors = list(self._doors.values())
        self._doors.clear()
        await asyncio.gather(*(door.close() for door in doors))


def listen_in(folder: Path) -> socket.socket:
    """A socket for everybody who sees the folder, in place of what an earlier daemon left. Blocks."""
    folder.mkdir(mode=0o755, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        draft = f".{SOCKET}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=handle)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        # The folder's own path may be longer than the name of a socket can be.
        listener.bind(f"/proc/self/fd/{handle}/{draft}")
        os.chmod(draft, 0o666, dir_fd=handle)
        listener.listen(_QUEUE)
        listener.setblocking(False)
        os.rename(draft, SOCKET, src_dir_fd=handle, dst_dir_fd=handle)
        return listener
    finally:
        os.close(handle)
