"""The consoles of instances: ptys of the host whose masters a small program keeps while the daemon may come and go.

The slave is bound over the guest's /dev/console. The keeper (`hutch/helper/consoles.py`) drains what the guest writes into
`console.log` and relays one attached client. The daemon holds duplicates of the masters: whichever of the two
dies is given them again by the other.
"""

import array
import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hutch.helper
from hutch.errors import Conflict, NotFound, Unavailable
from hutch.kernel import pidfd
from hutch.kernel.idmap import IdMap, to_host
from hutch.runtime import keeper

log = logging.getLogger(__name__)

TTY_GROUP = 5
_PROGRAM = Path(hutch.helper.__file__).parent / "consoles.py"
_IUTF8 = 0o40000


class Consoles:
    """Every console of one daemon. `directory` holds the keeper's socket."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "consoles.sock"
        self.keeper = 0
        self._connection: socket.socket | None = None
        self._watch: pidfd.Watch | None = None
        self._lock = asyncio.Lock()
        self._masters: dict[str, int] = {}
        self._logs: dict[str, str] = {}
        self._revival: asyncio.Future[None] | None = None

    async def connect(self) -> None:
        """Find the keeper that an earlier daemon left, or start one; learn its masters."""
        async with self._lock:
            await self._connected()

    async def open(self, project: str, name: str, directory: Path, idmap: Sequence[IdMap]) -> Path:
        """The path of the pty slave for the guest's /dev/console, made on first use; it stays over the guest's restarts.

        The log is `console.log` (and `console.log.old`) in `directory`.
        """
        key = _key(project, name)
        async with self._lock:
            await self._connected()
            if key not in self._masters:
                master = await asyncio.to_thread(_pty)
                self._masters[key], self._logs[key] = master, str(directory / "console.log")
                await self._hand_over(key)
            return await asyncio.to_thread(_slave, self._masters[key], idmap)

    async def attach(self, project: str, name: str, *, force: bool = False) -> socket.socket:
        """A non-blocking stream socket that carries the console both ways; its end means detached.

        Raises Conflict when somebody else is attached and `force` is not set; with it they are let go.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                answer = await self._ask(project, name, "attach", fd=theirs.fileno(), force=force)
            except BaseException:
                ours.close()
                raise
        if answer.get("error") == "busy":
            ours.close()
            raise Conflict("This console is already connected. Force is required to take it over.")
        ours.setblocking(False)
        return ours

    async def detach(self, project: str, name: str) -> None:
        """Let go whoever is attached."""
        await self._ask(project, name, "detach")

    async def resize(self, project: str, name: str, columns: int, rows: int) -> None:
        await self._ask(project, name, "resize", columns=columns, rows=rows)

    async def log(self, directory: Path) -> bytes:
        """What the guest in `directory` last wrote to its console, oldest first: at most 1 MiB. Works when it is stopped."""
        return await asyncio.to_thread(_read_log, directory)

    async def clear_log(self, project: str, name: str, directory: Path) -> None:
        if _key(project, name) in self._masters:
            await self._ask(project, name, "clear")
        else:
            await asyncio.to_thread(_remove_log, directory)

    async def close(self, project: str, name: str) -> None:
        """Give up the instance's pty; the log stays. Nothing happens when there is none."""
        if _key(project, name) not in self._masters:
            return
        await self._ask(project, name, "drop")
        key = _key(project, name)
        os.close(self._masters.pop(key))
        del self._logs[key]

    def stop(self) -> None:
        """Leave the keeper to itself: it ends when it has no console."""
        if self._watch is not None:
            self._watch.close()
        if self._connection is not None:
            self._connection.close()
        for master in self._masters.values():
            os.close(master)
        self._connection = self._watch = None
        self._masters.clear()
        self._logs.clear()

    async def _ask(self, project: str, name: str, command: str, fd: int | None = None, **words: Any) -> dict[str, Any]:
        async with self._lock:
            connection = await self._connected()
            request = {"command": command, "key": _key(project, name), **words}
            answer, _ = await keeper.ask(connection, request, [] if fd is None else [fd])
        if answer.get("error") == "missing":
            raise NotFound(f"the instance {name} has no console while it is not running")
        return answer

    async def _connected(self) -> socket.socket:
        if self._connection is not None:
            return self._connection
        connection = await keeper.reach(self.socket, _PROGRAM)
        answer, _ = await keeper.ask(connection, {"command": "lease"})
        self.keeper = int(answer["pid"])
        self._connection = connection
        self._watch = pidfd.Watch(self.keeper, self._keeper_ended)
        await self._share(connection)
        return connection

    async def _share(self, connection: socket.socket) -> None:
        """Give the keeper the masters it lacks and take those that only it has."""
        answer, _ = await keeper.ask(connection, {"command": "list"})
        for key, entry in answer["consoles"].items():
            if key not in self._masters:
                _, master = await keeper.ask(connection, {"command": "fetch", "key": key})
                if master is not None:
                    self._masters[key], self._logs[key] = master, entry["log"]
        for key in self._masters.keys() - answer["consoles"].keys():
            await self._hand_over(key)

    async def _hand_over(self, key: str) -> None:
        assert self._connection is not None
        request = {"command": "adopt", "key": key, "log": self._logs[key]}
        await keeper.ask(self._connection, request, [self._masters[key]])

    def _keeper_ended(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._watch = None
        log.warning("console keeper %d ended", self.keeper)
        if self._masters:
            self._revival = asyncio.ensure_future(self._revive())

    async def _revive(self) -> None:
        with contextlib.suppress(Unavailable, OSError):
            await self.connect()


def _key(project: str, name: str) -> str:
    return f"{project}/{name}"


def _pty() -> int:
    """A new master. The terminal starts as the kernel makes it (canonical, echo, signals), as a real console does, in UTF-8."""
    master, slave = os.openpty()
    settings = termios.tcgetattr(slave)
    settings[0] |= _IUTF8
    termios.tcsetattr(slave, termios.TCSANOW, settings)
    os.close(slave)
    return master


def _slave(master: int, idmap: Sequence[IdMap]) -> Path:
    path = _pts_path(master)
    os.chown(path, to_host(idmap, "u", 0) or 0, to_host(idmap, "g", TTY_GROUP) or 0)
    path.chmod(0o620)
    return path


def _pts_path(master: int) -> Path:
    """ptsname for Python before 3.13: ioctl TIOCGPTN."""
    number = array.array("i", [0])
    fcntl.ioctl(master, 0x80045430, number)
    return Path(f"/dev/pts/{number[0]}")


def _read_log(directory: Path) -> bytes:
    parts = []
    for name in ("console.log.old", "console.log"):
        with contextlib.suppress(FileNotFoundError):
            parts.append((directory / name).read_bytes())
    return b"".join(parts)


def _remove_log(directory: Path) -> None:
    for name in ("console.log.old", "console.log"):
        (directory / name).unlink(missing_ok=True)
