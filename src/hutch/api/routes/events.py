"""/1.0/events: what happens, one JSON text frame an event, in order and with none missing."""

import asyncio
import contextlib

from aiohttp import web

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes, Upgrade, upgrade
from hutch.errors import Forbidden, Invalid
from hutch.schema.base import encode
from hutch.work.events import TYPES, Subscription

routes = Routes(reads=Permission.LIST)
_QUERY = {"type": "Of operation, logging, lifecycle, comma separated", "all-projects": "true: of every project"}
_OTHERS = ("network-acl", "ovn")
"""Types that clients may ask for and that never come here."""


@routes("GET", "/1.0/events", gives=Upgrade, query=_QUERY)
async def get(request: Request) -> web.StreamResponse:
    types = _types(request)
    if request.all_projects and request.query.get("project"):
        raise Invalid("Cannot specify a project when requesting all projects")
    # Subscribed before the client learns that it is connected: what it does next must not be missed.
    project = None if request.all_projects else request.project
    subscription = request.parts.events.subscribe(types, project, request.caller.projects)
    try:
        socket = await upgrade(request)
        await _relay(subscription, socket, request.parts.lifetime.ending)
        return socket
    finally:
        request.parts.events.unsubscribe(subscription)


def _types(request: Request) -> list[str]:
    asked = [word for word in request.query.get("type", "").split(",") if word]
    for word in asked:
        if word not in TYPES and word not in _OTHERS:
            raise Invalid(f"{word!r} isn't a supported event type")
    if request.caller.is_admin:
        return asked or list(TYPES)
    if "logging" in asked:
        raise Forbidden("Forbidden")
    return asked or [word for word in TYPES if word != "logging"]


async def _relay(subscription: Subscription, socket: web.WebSocketResponse, ending: asyncio.Event) -> None:
    """Send until the client closes, or is too slow and was cut off by the hub, or the daemon ends."""
    listening = asyncio.ensure_future(_listen(socket))
    sending = asyncio.ensure_future(_send(subscription, socket))
    tasks = [listening, sending, asyncio.ensure_future(ending.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await socket.close()


async def _listen(socket: web.WebSocketResponse) -> None:
    """Nothing is expected but the pongs and the end."""
    async for _ in socket:
        pass


async def _send(subscription: Subscription, socket: web.WebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):
        while (event := await subscription.get()) is not None:
            await socket.send_str(encode(event).decode())
