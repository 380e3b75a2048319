"""The API that a guest has of itself at /dev/lxd/sock and /dev/incus/sock: bare JSON or text, errors as plain text.

One socket belongs to one guest, so a request says by where it comes in whose it is (docs/decisions/024-guest-api.md).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

import msgspec
from aiohttp import web

from hutch.api.images import export
from hutch.errors import HutchError, Invalid, NotFound, Unsupported
from hutch.schema.base import decode, encode
from hutch.service import guest, images
from hutch.service.parts import Parts
from hutch.work.guest_events import TYPES, Listener

log = logging.getLogger(__name__)

_FRAME = 4096
_FAREWELL, _HEARTBEAT = 1.0, 30.0


class StatePatch(msgspec.Struct, kw_only=True):
    state: str = ""


class Request:
    """A request of the guest `name`; `rest` is the path behind the route's."""

    def __init__(self, parts: Parts, project: str, name: str, http: web.BaseRequest, rest: list[str]) -> None:
        self.parts, self.project, self.name, self.http, self.rest = parts, project, name, http, rest
        self.record, self.config, self.devices = guest.own(parts, project, name)


async def _root(request: Request) -> object:
    return ["/1.0"]


async def _get(request: Request) -> object:
    return guest.document(request.record)


async def _patch(request: Request) -> object:
    wanted = decode(await request.http.read(), StatePatch)
    await guest.tell_state(request.parts, request.project, request.name, wanted.state)
    return ""


async def _config(request: Request) -> object:
    return guest.config_keys(request.config)


async def _value(request: Request) -> object:
    return guest.value(request.config, request.rest[0])


async def _devices(request: Request) -> object:
    return guest.shown_devices(request.record, request.devices)


async def _meta_data(request: Request) -> object:
    return guest.meta_data(request.record, request.config)


async def _image(request: Request) -> object:
    record = guest.image(request.parts, request.project, request.config, request.rest[0])
    sources = await asyncio.to_thread(images.files(request.parts).files, record.fingerprint)
    if not await asyncio.to_thread(sources[0].exists):
        raise NotFound("Image not found")
    return await export.files(request.http, sources, record.fingerprint)


async def _events(request: Request) -> web.StreamResponse:
    types = [word for word in request.http.query.get("type", "").split(",") if word] or list(TYPES)
    for word in types:
        if word not in TYPES:
            raise Invalid(f"{word!r} isn't a supported event type")
    events = request.parts.guest_events
    listener = events.subscribe(request.project, request.name, types)
    try:
        if request.http.headers.get("Upgrade", "").lower() == "websocket":
            return await _as_websocket(request.http, listener)
        return await _as_lines(request.http, listener)
    finally:
        events.unsubscribe(request.project, request.name, listener)


async def _as_websocket(http: web.BaseRequest, listener: Listener) -> web.StreamResponse:
    socket = web.WebSocketResponse(timeout=_FAREWELL, heartbeat=_HEARTBEAT, max_msg_size=_FRAME, compress=False)
    if not socket.can_prepare(http).ok:
        raise Invalid("the request is no valid websocket handshake")
    await socket.prepare(http)

    async def listen() -> None:
        async for _ in socket:
            pass

    async def relay() -> None:
        while (event := await listener.queue.get()) is not None:
            await socket.send_str(encode(event).decode())

    tasks = [asyncio.ensure_future(listen()), asyncio.ensure_future(relay())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(_FAREWELL):
            await socket.close()
    return socket


async def _as_lines(http: web.BaseRequest, listener: Listener) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(http)
    while (event := await listener.queue.get()) is not None:
        await response.write(encode(event) + b"\n")
    return response


Handler = Callable[[Request], Awaitable[object]]

_ROUTES: dict[tuple[str, ...], dict[str, Handler]] = {
    (): {"GET": _root},
    ("1.0",): {"GET": _get, "PATCH": _patch},
    ("1.0", "config"): {"GET": _config},
    ("1.0", "config", "*"): {"GET": _value},
    ("1.0", "devices"): {"GET": _devices},
    ("1.0", "events"): {"GET": _events},
    ("1.0", "images", "*", "export"): {"GET": _image},
    ("1.0", "meta-data"): {"GET": _meta_data},
}


def _route(http: web.BaseRequest) -> tuple[Handler, list[str]]:
    words = [unquote(word) for word in http.rel_url.raw_path.split("/") if word]
    for pattern, methods in _ROUTES.items():
        if len(pattern) == len(words) and all(want in ("*", word) for want, word in zip(pattern, words, strict=True)):
            if http.method not in methods:
                raise Unsupported("not implemented")
            return methods[http.method], [word for want, word in zip(pattern, words, strict=True) if want == "*"]
    raise NotFound("not found")


async def serve(parts: Parts, project: str, name: str, http: web.BaseRequest) -> web.StreamResponse:
    """Answer the root of the guest."""
    try:
        handler, rest = _route(http)
        return _answer(await handler(Request(parts, project, name, http, rest)))
    except HutchError as error:
        if error.status < 500 or isinstance(error, Unsupported):
            return _text(str(error) + "\n", error.status)
        log.warning("instance %s: %s %s: %s", name, http.method, http.path, error)
    except (web.HTTPException, ConnectionError):
        raise
    except Exception:
        log.exception("instance %s: %s %s failed", name, http.method, http.path)
    return _text("internal error\n", 500)


async def refuse(http: web.BaseRequest) -> web.StreamResponse:
    """Answer others than the root of the guest."""
    return _text("Access denied for non-root user\n", 401)


def _answer(value: object) -> web.StreamResponse:
    if isinstance(value, web.StreamResponse):
        return value
    if isinstance(value, str):
        return _text(value, 200)
    return web.Response(body=encode(value), content_type="application/json")


def _text(text: str, status: int) -> web.Response:
    return web.Response(text=text, status=status)
