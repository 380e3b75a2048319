"""The proxies of instances, carried by one small program that outlives the daemon (`hutch/helper/proxies.py`)."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hutch.helper
from hutch.errors import Conflict, Invalid, NotFound, Unavailable
from hutch.kernel import pidfd
from hutch.runtime import keeper

log = logging.getLogger(__name__)

_PROGRAM = Path(hutch.helper.__file__).parent / "proxies.py"


class Proxies:
    """Every proxy of one daemon. `directory` holds the program's socket; it is started with the first proxy."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "proxies.sock"
        self._connection: socket.socket | None = None
        self._watch: pidfd.Watch | None = None
        self._lock = asyncio.Lock()
        self._known: dict[str, tuple[dict[str, Any], int]] = {}
        self._revival: asyncio.Future[None] | None = None

    async def add(self, key: str, spec: dict[str, Any], init: int) -> None:
        """Carry what `spec` says (see the program) for the guest with this init; nothing happens when it is done already."""
        async with self._lock:
            await self._add(key, spec, init)
            self._known[key] = spec, init

    async def drop(self, key: str) -> None:
        """End a proxy and its connections; does nothing if absent."""
        async with self._lock:
            self._known.pop(key, None)
            connection = self._connection or await keeper.find(self.socket)
            if connection is None:
                return
            try:
                await keeper.ask(connection, {"command": "drop", "key": key})
            except Unavailable:
                return
            finally:
                if connection is not self._connection:
                    connection.close()

    def stop(self) -> None:
        """Leave the program to itself: it ends when it has no proxy."""
        if self._watch is not None:
            self._watch.close()
        if self._connection is not None:
            self._connection.close()
        self._connection = self._watch = None

    async def _add(self, key: str, spec: dict[str, Any], init: int) -> None:
        connection = await self._connected()
        with _guest(init) as (descriptors, network):
            request = {"command": "add", "key": key, "spec": spec | {"network": network}}
            answer, _ = await keeper.ask(connection, request, descriptors)
        if reason := answer.get("error"):
            kind = Conflict if answer.get("errno") == errno.EADDRINUSE else Invalid
            raise kind(f"the proxy cannot listen on {_text(spec['listen'])}: {reason}")

    async def _connected(self) -> socket.socket:
        if self._connection is None:
            connection = await keeper.reach(self.socket, _PROGRAM)
            answer, _ = await keeper.ask(connection, {"command": "lease"})
            self._connection = connection
            self._watch = pidfd.Watch(int(answer["pid"]), self._ended)
        return self._connection

    def _ended(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._watch = None
        log.warning("the program that carries proxies has ended")
        if self._known:
            self._revival = asyncio.ensure_future(self._revive())

    async def _revive(self) -> None:
        async with self._lock:
            for key, (spec, init) in list(self._known.items()):
                with contextlib.suppress(Unavailable, Conflict, Invalid, NotFound):
                    await self._add(key, spec, init)


@contextlib.contextmanager
def _guest(init: int) -> Iterator[tuple[list[int], int]]:
    """Descriptors of a guest's network namespace and root, and the namespace's number."""
    opened: list[int] = []
    try:
        try:
            opened.append(os.open(f"/proc/{init}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
            opened.append(os.open(f"/proc/{init}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            raise NotFound("the instance has ended") from error
        yield opened, os.fstat(opened[0]).st_ino
    finally:
        for fd in opened:
            os.close(fd)


def _text(ends: list[list[Any]]) -> str:
    kind, host, port = ends[0]
    where = host if kind == "unix" else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{kind}:{where}" + (f" and {len(ends) - 1} more" if len(ends) > 1 else "")
