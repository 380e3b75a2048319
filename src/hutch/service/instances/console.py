"""The console of an instance on a websocket, and its log."""

import asyncio
import json
import logging
import socket as sockets
from collections.abc import Mapping
from typing import Any

from hutch.errors import HutchError, Invalid
from hutch.schema.instance import ConsolePost
from hutch.service.instances import render
from hutch.service.instances.exec import PATIENCE
from hutch.service.parts import Parts
from hutch.work.operations import Operation, Socket

log = logging.getLogger(__name__)
_BLOCK = 1 << 16


def start(parts: Parts, project: str, name: str, wanted: ConsolePost) -> Operation:
    """A POST of a console: its data on the websocket `0`, window sizes on `control`, whose closing detaches."""
    parts.state.instances.get(project, name)
    if wanted.type == "vga":
        raise Invalid("VGA console is only supported by virtual machines")
    if wanted.type not in ("", "console"):
        raise Invalid(f"Unknown console type {wanted.type!r}")
    running = parts.runtime.running(project, name)
    if running is None:
        raise Invalid("Instance is not running")
    if running.frozen:
        raise Invalid("Instance is frozen")
    operation = parts.operations.start(
        "Showing console", None, kind="websocket", project=project, resources=render.resources(project, name)
    )
    names = {stream: operation.socket(stream) for stream in ("0", "control")}

    async def work(operation: Operation) -> None:
        try:
            data, control = [operation.sockets[names[stream]] for stream in ("0", "control")]
            _, missing = await asyncio.wait([data, control], timeout=PATIENCE)
            if missing:
                raise HutchError("Timed out waiting for websockets to connect")
            await _relay(parts, project, name, wanted, data.result(), control.result())
        finally:
            for future in operation.sockets.values():
                if future.done() and not future.cancelled():
                    parts.tasks.spawn(future.result().close(), f"end of a websocket of {operation.id}")

    parts.events.lifecycle("instance-console", render.url(project, name), project, {"type": "console"})
    operation.run(work)
    return operation


async def _relay(parts: Parts, project: str, name: str, wanted: ConsolePost, data: Socket, control: Socket) -> None:
    """Carry bytes both ways until the guest, the client, or one who takes over by force ends it."""
    console = await parts.consoles.attach(project, name, force=wanted.force)
    with console:
        if wanted.width and wanted.height:
            await parts.consoles.resize(project, name, wanted.width, wanted.height)
        ways = [
            asyncio.ensure_future(_from_guest(console, data)),
            asyncio.ensure_future(_to_guest(console, data)),
            asyncio.ensure_future(_obey(parts, project, name, control)),
            asyncio.ensure_future(parts.lifetime.ending.wait()),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _from_guest(console: sockets.socket, data: Socket) -> None:
    loop = asyncio.get_running_loop()
    while block := await loop.sock_recv(console, _BLOCK):
        await data.send(block)
        await asyncio.sleep(0)
    await data.send("")


async def _to_guest(console: sockets.socket, data: Socket) -> None:
    loop = asyncio.get_running_loop()
    while (block := await data.receive()) is not None:
        await loop.sock_sendall(console, block.encode() if isinstance(block, str) else block)


async def _obey(parts: Parts, project: str, name: str, control: Socket) -> None:
    while (text := await control.receive()) is not None:
        try:
            await _resize(parts, project, name, json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, HutchError) as error:
            log.info("a control message of a console is not understood: %s: %s", text[:200], error)


async def _resize(parts: Parts, project: str, name: str, message: Mapping[str, Any]) -> None:
    if message.get("command") == "window-resize":
        size = message["args"]
        await parts.consoles.resize(project, name, int(size["width"]), int(size["height"]))


async def text(parts: Parts, project: str, name: str) -> bytes:
    """What the guest last wrote to its console; also when it is stopped."""
    parts.state.instances.get(project, name)
    shown = await parts.consoles.log(parts.instance_directory(project, name))
    parts.events.lifecycle("instance-console-retrieved", render.url(project, name), project)
    return shown


async def clear(parts: Parts, project: str, name: str) -> None:
    parts.state.instances.get(project, name)
    await parts.consoles.clear_log(project, name, parts.instance_directory(project, name))
    parts.events.lifecycle("instance-console-reset", render.url(project, name), project)
