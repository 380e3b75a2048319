"""Commands inside guests, started by a small program (`hutch/helper/enter.py`) that knows the way in.

The program is started with the first command and ends with the daemon; commands whose daemon ended go on as children of their guest's init.
"""

import array
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import struct
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hutch.helper
from hutch.errors import Invalid, ToolFailed, Unavailable
from hutch.kernel import namespaces, pidfd, run

log = logging.getLogger(__name__)

_PROGRAM = Path(hutch.helper.__file__).parent / "enter.py"
_PACKET = 1 << 20


@dataclass(frozen=True)
class Errand:
    """A command as it shall run in a guest: ids and paths are the guest's, `environment` is all of it."""

    command: Sequence[str]
    environment: Mapping[str, str]
    user: int
    group: int
    cwd: str


class Session:
    """A command that runs in a guest, by pid of the host. Where it has a terminal, `master` is the non-blocking pty master."""

    def __init__(self, pid: int, fd: int, master: int | None, code: asyncio.Future[int]) -> None:
        self.pid, self.master = pid, master
        self._fd, self._code = fd, code

    async def wait(self) -> int:
        """The exit status, or 128 + the number of the signal that ended it. Raises Unavailable when nobody learned it."""
        return await asyncio.shield(self._code)

    def send(self, number: int, *, group: bool = False) -> bool:
        """Signal the command, with `group` its process group too; false when it has ended."""
        if self._code.done():
            return False
        reached = pidfd.send(self._fd, number)
        if group and reached:
            # It leads its session: as long as anybody is in it, the group's number is its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
        return reached

    def resize(self, columns: int, rows: int) -> None:
        if self.master is not None:
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0))

    def close(self) -> None:
        """Let go of the descriptors; the command goes on."""
        for fd in (self._fd, self.master):
            if fd is not None:
                os.close(fd)
        self.master = None


class Door:
    """The daemon's side of the program, which lives among the host's mounts: in a copy of the daemon's, roots would stay mounted."""

    def __init__(self) -> None:
        self._channel: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._number = 0
        self._started: dict[int, asyncio.Future[Session]] = {}
        self._codes: dict[int, asyncio.Future[int]] = {}

    async def enter(
        self,
        errand: Errand,
        guest: Mapping[str, Any],
        init: int,
        *,
        stdio: Sequence[int] | None = None,
        size: tuple[int, int] = (0, 0),
    ) -> Session:
        """Start the command in the guest of the pidfd `init`, on three descriptors or, without them, on a pty of `size`.

        `guest` has what the program must know of the guest: `init` (pid), `groups` (folders), `profile` (of seccomp).
        """
        channel = await self._open()
        self._number += 1
        number = self._number
        words: dict[str, Any] = {"id": number, **guest, "command": list(errand.command), "cwd": errand.cwd}
        words |= {"environment": dict(errand.environment), "user": errand.user, "group": errand.group}
        if stdio is None:
            words |= {"columns": size[0] & 0xFFFF, "rows": size[1] & 0xFFFF}
        loop = asyncio.get_running_loop()
        started: asyncio.Future[Session] = loop.create_future()
        self._started[number], self._codes[number] = started, loop.create_future()
        try:
            _send(channel, words, [init, *(stdio or ())])
            return await started
        except BaseException:
            self._codes.pop(number, None)
            raise
        finally:
            self._started.pop(number, None)

    async def close(self) -> None:
        if self._channel is not None and self._process is not None:
            self._lost()
            await self._process.wait()

    async def _open(self) -> socket.socket:
        async with self._lock:
            if self._channel is None:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                for end in (ours, theirs):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _PACKET)
                argv, passed = namespaces.among_host_mounts([sys.executable, "-I", "-S", str(_PROGRAM)])
                with theirs:
                    self._process = await run.start(
                        argv,
                        stdin=theirs.fileno(),
                        stdout=asyncio.subprocess.DEVNULL,
                        stderr=asyncio.subprocess.DEVNULL,
                        pass_fds=passed,
                    )
                ours.setblocking(False)
                self._channel = ours
                asyncio.get_running_loop().add_reader(ours.fileno(), self._receive)
            return self._channel

    def _receive(self) -> None:
        assert self._channel is not None
        try:
            data, fds, _flags, _address = socket.recv_fds(self._channel, _PACKET, 2, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._lost()
            return
        packet = json.loads(data)
        number = packet["id"]
        if "code" in packet:
            self._ended(number, packet["code"])
        elif "error" in packet:
            self._fail(number, packet["error"])
        else:
            self._begun(number, packet["pid"], fds)

    def _begun(self, number: int, pid: int, fds: Sequence[int]) -> None:
        master = fds[1] if len(fds) > 1 else None
        waiting, code = self._started.get(number), self._codes.get(number)
        if waiting is None or waiting.done() or code is None:
            # Whoever asked has been cancelled.
            pidfd.send(fds[0], signal.SIGKILL)
            for fd in fds:
                os.close(fd)
            return
        if master is not None:
            os.set_blocking(master, False)
        waiting.set_result(Session(pid, fds[0], master, code))

    def _ended(self, number: int, code: int) -> None:
        future = self._codes.pop(number, None)
        if future is not None and not future.done():
            future.set_result(code)

    def _fail(self, number: int, reason: str) -> None:
        waiting = self._started.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_exception(ToolFailed(["enter"], 1, reason))

    def _lost(self) -> None:
        """The program is gone, or shall go."""
        if self._channel is None:
            return
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        self._channel.close()
        self._channel = None
        futures: list[asyncio.Future[Any]] = [*self._started.values(), *self._codes.values()]
        for future in futures:
            if not future.done():
                future.set_exception(Unavailable("the program that enters guests ended"))
                future.exception()
        self._started.clear()
        self._codes.clear()


def _send(channel: socket.socket, packet: Mapping[str, Any], fds: Sequence[int]) -> None:
    data = json.dumps(packet).encode()
    if len(data) >= _PACKET:
        raise Invalid("the command and its environment are too long")
    try:
        channel.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
    except BlockingIOError as error:
        raise Unavailable("too many commands are being started at once") from error
    except OSError as error:
        raise Invalid(f"the command and its environment cannot be handed over: {error.strerror}") from error
