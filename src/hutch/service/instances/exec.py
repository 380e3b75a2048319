"""Commands inside running guests, with their streams on websockets (api-compat, section 5).

A stream's end is an empty text frame, either way. Interactive commands have one socket, on a terminal; others three. The
socket `control` carries window sizes and signals; whoever closes it, or an output's socket, before the end has gone
away, and the command is killed.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from hutch.errors import HutchError, Invalid
from hutch.kernel import pipes
from hutch.kernel.openat2 import open_in_root
from hutch.kernel.worker import Worker
from hutch.runtime.enter import Errand, Session
from hutch.schema.base import Config, strings
from hutch.schema.instance import ExecPost
from hutch.service.instances import expand, render
from hutch.service.instances.streams import Attached
from hutch.service.parts import Parts
from hutch.work.operations import Operation, Socket

PATIENCE = 5.0
"""Seconds for a client to connect its websockets."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MORE_PATH = {"snap": "/snap/bin", "etc/NIXOS": "/run/current-system/sw/bin"}
_ANSWER = 1.0
_KEPT, _MANY = 5.0, 1000
_known: dict[int, tuple[int, float, set[str]]] = {}
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


async def start(parts: Parts, project: str, name: str, wanted: ExecPost) -> Operation:
    """A POST of an exec. The operation's metadata has the sockets' secrets, and at the end `return`."""
    command = _Command(parts, project, name, wanted)
    await command.complete()
    resources = render.resources(project, name)
    parts.events.lifecycle("instance-exec", render.url(project, name), project, {"command": wanted.command})
    if not wanted.wait_for_websocket:
        return parts.operations.start("Executing command", command.unattended, project=project, resources=resources)
    shown = {"command": wanted.command, "environment": command.environment, "interactive": command.interactive}
    operation = parts.operations.start(
        "Executing command", None, kind="websocket", project=project, resources=resources, metadata=shown
    )
    for stream in ("0", "control") if command.interactive else ("0", "1", "2", "control"):
        command.secrets[stream] = operation.socket(stream)
    operation.run(command.attended)
    return operation


class _Command:
    def __init__(self, parts: Parts, project: str, name: str, wanted: ExecPost) -> None:
        record = parts.state.instances.get(project, name)
        running = parts.runtime.running(project, name)
        if running is None:
            raise Invalid("Instance is not running")
        if running.frozen:
            raise Invalid("Instance is frozen")
        if not wanted.command or any("\0" in word for word in wanted.command):
            raise Invalid("the command is missing" if not wanted.command else "a command cannot hold a null byte")
        self.parts, self.project, self.name, self.wanted = parts, project, name, wanted
        self.interactive = bool(wanted.interactive)
        self.running, self.config = running, expand.of(parts.state, record)[0]
        self.secrets: dict[str, str] = {}

    async def complete(self) -> None:
        """Fill in what the request leaves open; that asks the guest's filesystem, which may not answer."""
        wanted, user = self.wanted, self.wanted.user or 0
        folders = await self._folders()
        self.environment = environment(strings(wanted.environment), self.config, user, folders)
        home = "/root" if user == 0 and "root" in folders else "/"
        self.errand = Errand(wanted.command, self.environment, user, wanted.group or 0, wanted.cwd or home)

    async def _folders(self) -> Collection[str]:
        """Which of the folders that decide on HOME and PATH there are; kept for a while, for many commands come in a row."""
        known = _known.get(self.running.init)
        if known is not None and known[0] == self.running.started and time.monotonic() - known[1] < _KEPT:
            return known[2]
        worker = Worker(f"exec in {self.name}")
        folders: set[str] = set()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_ANSWER):
                folders = await worker.call(_present, self.running.init, ["root", *_MORE_PATH])
            if len(_known) > _MANY:
                _known.clear()
            _known[self.running.init] = self.running.started, time.monotonic(), folders
        worker.finish()
        return folders

    async def unattended(self, operation: Operation) -> None:
        """Run to the end with no websockets; the output is thrown away, or recorded in the instance's logs."""
        names = [f"exec_{operation.id}.{stream}" for stream in ("stdout", "stderr")]
        folder = self.parts.instance_directory(self.project, self.name) / "logs"
        with ExitStack() as stack:
            if self.wanted.record_output:
                stdio = await asyncio.to_thread(_recording, folder, names)
            else:
                stdio = [os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)] * 3
            for fd in set(stdio):
                stack.callback(os.close, fd)
            session = await self._execute(stdio=stdio)
        with closing(session):
            # Nobody listens, so the end of the daemon is not the command's.
            shown: dict[str, Any] = {"return": await session.wait()}
        if self.wanted.record_output:
            base, _, project = render.url(self.project, self.name).partition("?")
            urls = [f"{base}/logs/{name}" + (f"?{project}" if project else "") for name in names]
            shown["output"] = {"1": urls[0], "2": urls[1]}
        operation.update(**shown)

    async def _execute(self, stdio: Sequence[int] | None = None, size: tuple[int, int] = (0, 0)) -> Session:
        return await self.parts.runtime.execute(self.project, self.name, self.errand, stdio=stdio, size=size)

    async def attended(self, operation: Operation) -> None:
        """Wait for the client's websockets, then run the command between them."""
        try:
            sockets = await self._sockets(operation)
            control = operation.sockets[self.secrets["control"]]
            if self.interactive:
                code = await self._on_terminal(sockets, control)
            else:
                code = await self._on_pipes(sockets, control)
            operation.update(**{"return": code})
        finally:
            for future in operation.sockets.values():
                if future.done() and not future.cancelled():
                    self.parts.tasks.spawn(future.result().close(), f"end of a websocket of {operation.id}")

    async def _sockets(self, operation: Operation) -> dict[str, Socket]:
        """The connected sockets by stream. Old clients and pylxd open no control socket for what is not interactive."""
        needed = {
            stream: operation.sockets[secret]
            for stream, secret in self.secrets.items()
            if self.interactive or stream != "control"
        }
        _, missing = await asyncio.wait(needed.values(), timeout=PATIENCE)
        if missing:
            raise HutchError("Timed out waiting for websockets to connect")
        return {stream: future.result() for stream, future in needed.items()}

    async def _on_terminal(self, sockets: Mapping[str, Socket], control: asyncio.Future[Socket]) -> int:
        session = await self._execute(size=(self.wanted.width or 0, self.wanted.height or 0))
        with closing(session):
            assert session.master is not None
            attached = Attached(session, self.parts.lifetime.ending)
            outputs = [attached.pump(session.master, sockets["0"])]
            inputs = [attached.feed_terminal(session.master, sockets["0"]), attached.obey(control)]
            return await attached.see_through(outputs, inputs)

    async def _on_pipes(self, sockets: Mapping[str, Socket], control: asyncio.Future[Socket]) -> int:
        with ExitStack() as stack:
            stdin = stack.enter_context(ExitStack())
            ends = [pipes.pipe(ours=1), pipes.pipe(ours=0, wide=True), pipes.pipe(ours=0, wide=True)]
            stdin.callback(os.close, ends[0][1])
            stack.callback(os.close, ends[1][0])
            stack.callback(os.close, ends[2][0])
            with ExitStack() as theirs:
                given = [ends[0][0], ends[1][1], ends[2][1]]
                for fd in given:
                    theirs.callback(os.close, fd)
                session = await self._execute(stdio=given)
            stack.enter_context(closing(session))
            attached = Attached(session, self.parts.lifetime.ending)
            outputs = [attached.pump(ends[number][0], sockets[str(number)]) for number in (1, 2)]
            watches = [attached.watch(sockets[str(number)]) for number in (1, 2)]
            inputs = [attached.feed_pipe(sockets["0"], ends[0][1], stdin), *watches, attached.obey(control)]
            return await attached.see_through(outputs, inputs)


def _recording(folder: Path, names: Sequence[str]) -> list[int]:
    """Nothing to read, and new files of these names to write."""
    folder.mkdir(exist_ok=True, mode=0o700)
    files = [os.open(folder / name, _NEW, 0o600) for name in names]
    return [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), *files]


def environment(asked: Config, config: Config, user: int, folders: Collection[str]) -> Config:
    """The request's variables, then the instance's environment.* keys, then what every command gets."""
    found = dict(asked)
    for key, value in config.items():
        if key.startswith("environment."):
            found.setdefault(key.removeprefix("environment."), value)
    found.setdefault("PATH", ":".join([_PATH, *(more for path, more in _MORE_PATH.items() if path in folders)]))
    if user == 0:
        found.setdefault("HOME", "/root")
        found.setdefault("USER", "root")
    found.setdefault("LANG", "C.UTF-8")
    return found


def _present(init: int, paths: Sequence[str]) -> set[str]:
    """Which of the paths exist in the guest."""
    root = os.open(f"/proc/{init}/root", os.O_PATH | os.O_CLOEXEC)
    try:
        return {path for path in paths if _has(root, path)}
    finally:
        os.close(root)


def _has(root: int, path: str) -> bool:
    try:
        os.close(open_in_root(root, path, os.O_PATH))
    except OSError:
        return False
    return True
