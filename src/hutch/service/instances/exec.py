"""Commands inside running guests, with their streams on websockets (api-compat, section 5).

A stream's end is an empty text frame, either way. Interactive commands have one socket, on a terminal; others three. The
socket `control` carries window sizes and signals; whoever closes it, or an output's socket, before the end has gone
away, and the command is killed.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Coroutine, Mapping
from contextlib import ExitStack
from typing import Any

from hutch.errors import HutchError, Invalid
from hutch.kernel import inside, pty, run
from hutch.kernel.openat2 import open_in_root
from hutch.schema.base import Config, strings
from hutch.schema.instance import ExecPost
from hutch.service.instances import expand, render
from hutch.service.parts import Parts
from hutch.work.operations import Operation, Socket

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds for a client to connect its websockets."""
_BLOCK = 1 << 18
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MORE_PATH = {"snap": "/snap/bin", "etc/NIXOS": "/run/current-system/sw/bin"}
_GRACE = 5.0


def start(parts: Parts, project: str, name: str, wanted: ExecPost) -> Operation:
    """A POST of an exec. The operation's metadata has the sockets' secrets, and at the end `return`."""
    command = _Command(parts, project, name, wanted)
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
        config, _ = expand.of(parts.state, record)
        self.environment = environment(strings(wanted.environment), config, wanted.user or 0, running.init)
        self.argv = parts.runtime.attach_command(
            project,
            name,
            wanted.command,
            environment=self.environment,
            user=wanted.user or 0,
            group=wanted.group or 0,
            cwd=wanted.cwd or "/root",
        )
        self.secrets: dict[str, str] = {}

    async def unattended(self, operation: Operation) -> None:
        """Run to the end with no websockets; the output is thrown away, or recorded in the instance's logs."""
        with ExitStack() as stack:
            out = err = asyncio.subprocess.DEVNULL
            names = [f"exec_{operation.id}.{stream}" for stream in ("stdout", "stderr")]
            if self.wanted.record_output:
                folder = self.parts.instance_directory(self.project, self.name) / "logs"
                out, err = await asyncio.to_thread(_open_records, [folder / name for name in names])
                stack.callback(os.close, out)
                stack.callback(os.close, err)
            process = await run.start(self.argv, stdout=out, stderr=err)
        shown: dict[str, Any] = {"return": await self._ended(process)}
        if self.wanted.record_output:
            base, _, project = render.url(self.project, self.name).partition("?")
            urls = [f"{base}/logs/{name}" + (f"?{project}" if project else "") for name in names]
            shown["output"] = {"1": urls[0], "2": urls[1]}
        operation.update(**shown)

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        try:
            return _exit_code(await process.wait())
        except asyncio.CancelledError:
            await _kill(process)
            raise

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
        with ExitStack() as stack:
            master, slave = pty.open_pty(self.wanted.width or 0, self.wanted.height or 0)
            stack.callback(os.close, master)
            try:
                process = await run.start(self.argv, stdin=slave, stdout=slave, stderr=slave)
            finally:
                os.close(slave)
            attached = _Attached(process, master)
            socket = sockets["0"]
            outputs = [attached.pump(master, socket)]
            inputs = [attached.feed_terminal(socket), attached.obey(control)]
            return await attached.see_through(outputs, inputs)

    async def _on_pipes(self, sockets: Mapping[str, Socket], control: asyncio.Future[Socket]) -> int:
        with ExitStack() as stack:
            theirs = ExitStack()
            ends = [pty.pipe(ours=1), pty.pipe(ours=0, wide=True), pty.pipe(ours=0, wide=True)]
            mine = [ends[0][1], ends[1][0], ends[2][0]]
            given = [ends[0][0], ends[1][1], ends[2][1]]
            stdin = ExitStack()
            stack.enter_context(stdin)
            stdin.callback(os.close, mine[0])
            for fd in mine[1:]:
                stack.callback(os.close, fd)
            for fd in given:
                theirs.callback(os.close, fd)
            with theirs:
                process = await run.start(self.argv, stdin=given[0], stdout=given[1], stderr=given[2])
            attached = _Attached(process)
            outputs = [attached.pump(mine[number], sockets[str(number)]) for number in (1, 2)]
            watches = [attached.watch(sockets[str(number)]) for number in (1, 2)]
            inputs = [attached.feed_pipe(sockets["0"], mine[0], stdin), *watches, attached.obey(control)]
            return await attached.see_through(outputs, inputs)


class _Attached:
    """An lxc-attach that runs, and the coroutines between its descriptors and the client's sockets."""

    def __init__(self, process: asyncio.subprocess.Process, master: int = -1) -> None:
        self.process, self.master = process, master
        self.sent: set[Socket] = set()
        self.gone = asyncio.Event()

    async def see_through(
        self, outputs: list[Coroutine[Any, Any, None]], inputs: list[Coroutine[Any, Any, None]]
    ) -> int:
        """The exit code, once every output has been sent to its end. A client that goes away, or the operation's end, kills."""
        inbound = [asyncio.ensure_future(each) for each in inputs]
        ended = asyncio.gather(self.process.wait(), *outputs)
        gone = asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait([ended, gone], return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended.result()
            else:
                await _kill(self.process)
            return _exit_code(await self.process.wait())
        except BaseException:
            await _kill(self.process)
            raise
        finally:
            rest = [ended, gone, *inbound]
            for each in rest:
                each.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    async def pump(self, fd: int, socket: Socket) -> None:
        """Send what the command writes, and the mark of its end."""
        try:
            while data := await pty.read(fd, _BLOCK):
                await socket.send(data)
            await socket.send("")
        except (ConnectionError, RuntimeError):
            self.gone.set()
        self.sent.add(socket)

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
                reading = await pty.write(fd, data.encode() if isinstance(data, str) else data)
            elif data == "":
                stdin.close()
                reading = False
        stdin.close()

    async def feed_terminal(self, socket: Socket) -> None:
        while (data := await socket.receive()) is not None:
            if data:
                await pty.write(self.master, data.encode() if isinstance(data, str) else data)
        self._left(socket)

    async def obey(self, connected: asyncio.Future[Socket]) -> None:
        """Do what the control socket says."""
        control = await asyncio.shield(connected)
        while (text := await control.receive()) is not None:
            try:
                await self._do(json.loads(text))
            except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
                log.info("a control message of an exec is not understood: %s: %s", text[:200], error)
        self.gone.set()

    async def _do(self, message: Mapping[str, Any]) -> None:
        match message.get("command"):
            case "window-resize" if self.master >= 0:
                arguments = message["args"]
                pty.resize(self.master, int(arguments["width"]), int(arguments["height"]))
                # It has no controlling terminal, so the kernel does not tell it.
                with contextlib.suppress(ProcessLookupError):
                    self.process.send_signal(signal.SIGWINCH)
            case "signal" if inside.is_signal(number := int(message["signal"])):
                await inside.send(self.process.pid, number)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the command in the guest and its process group; lxc-attach follows, or is ended as well."""
    if process.returncode is not None:
        return
    await inside.send(process.pid, signal.SIGKILL, group=True)
    try:
        async with asyncio.timeout(_GRACE):
            await process.wait()
    except TimeoutError:
        run.kill(process)
        await process.wait()


def _exit_code(status: int) -> int:
    return 128 - status if status < 0 else status


def _open_records(paths: list[Any]) -> tuple[int, int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    paths[0].parent.mkdir(exist_ok=True, mode=0o700)
    return os.open(paths[0], flags, 0o600), os.open(paths[1], flags, 0o600)


def environment(asked: Config, config: Config, user: int, init: int) -> Config:
    """The request's variables, then the instance's environment.* keys, then what every command gets."""
    found = dict(asked)
    for key, value in config.items():
        if key.startswith("environment."):
            found.setdefault(key.removeprefix("environment."), value)
    if "PATH" not in found:
        found["PATH"] = ":".join([_PATH, *_more_path(init)])
    if user == 0:
        found.setdefault("HOME", "/root")
        found.setdefault("USER", "root")
    found.setdefault("LANG", "C.UTF-8")
    return found


def _more_path(init: int) -> list[str]:
    found = []
    with contextlib.suppress(OSError):
        root = os.open(f"/proc/{init}/root", os.O_PATH | os.O_CLOEXEC)
        try:
            for path, folder in _MORE_PATH.items():
                with contextlib.suppress(OSError):
                    os.close(open_in_root(root, path, os.O_PATH))
                    found.append(folder)
        finally:
            os.close(root)
    return found
