"""/1.0/operations: what runs and what ended a minute ago, waiting for it, and the websockets of it."""

import asyncio
import hmac
from typing import Any

from aiohttp import web

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes, Upgrade, WebSocket, upgrade
from hutch.errors import Forbidden, Invalid
from hutch.schema.answers.operation import Operation as OperationAnswer
from hutch.work.operations import Operation

routes = Routes(reads=Permission.TRUSTED, writes=Permission.TRUSTED)
PATH = "/1.0/operations"
_GRACE = 30.0
_SECRET = {"secret": "What shows that the caller may, in place of trust"}
_WAIT = _SECRET | {"timeout": "Seconds to wait at the most; -1: for ever"}
_RECURSION = {"recursion": "1: documents in place of URLs", "all-projects": "true: of every project"}


@routes(
    "GET", PATH, needs=Permission.LIST, gives=(dict[str, list[OperationAnswer]], dict[str, list[str]]), query=_RECURSION
)
async def get(request: Request) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for operation in request.parts.operations.all():
        if _is_listed(request, operation):
            shown = operation.document() if request.recursion else operation.url
            found.setdefault(operation.status.text.lower(), []).append(shown)
    return found


def _is_listed(request: Request, operation: Operation) -> bool:
    """Operations of no project are for those who may do everything."""
    if not operation.project:
        return request.caller.is_admin
    return request.sees(operation.project)


def _find(request: Request) -> Operation:
    """The operation of the path, for those who may know of its project."""
    operation = request.parts.operations.get(request["id"])
    if not (request.caller.sees(operation.project) if operation.project else request.caller.is_admin):
        raise Forbidden("Forbidden")
    return operation


@routes("GET", PATH + "/{id}", gives=OperationAnswer)
async def get_one(request: Request) -> dict[str, Any]:
    return _find(request).document()


@routes("DELETE", PATH + "/{id}")
async def delete(request: Request) -> None:
    operation = _find(request)
    await operation.cancel()
    request.parts.events.lifecycle("operation-cancelled", operation.url, operation.project)


@routes("GET", PATH + "/{id}/wait", needs=Permission.EVERYBODY, gives=OperationAnswer, query=_WAIT)
async def wait(request: Request) -> dict[str, Any]:
    """The operation once it has ended, or when the timeout is over: a failed one is answered with 200 as well."""
    secret = request.query.get("secret", "")
    if not secret and not request.caller.trusted:
        raise Forbidden("Forbidden")
    operation = request.parts.operations.get(request["id"]) if secret else _find(request)
    if secret and not _knows(operation, secret):
        raise Forbidden("Forbidden")
    await operation.wait(_timeout(request))
    return operation.document()


def _timeout(request: Request) -> float | None:
    text = request.query.get("timeout", "") or "-1"
    try:
        seconds = float(text)
    except ValueError:
        raise Invalid(f"the timeout is no number of seconds: {text!r}") from None
    return seconds if seconds >= 0 else None


def _knows(operation: Operation, secret: str) -> bool:
    """Whether the secret is the operation's own or one of its websockets'."""
    own = str(operation.metadata.get("secret", ""))
    secrets = [*operation.sockets, *([own] if own else [])]
    return any(hmac.compare_digest(each.encode(), secret.encode()) for each in secrets)


@routes("GET", PATH + "/{id}/websocket", needs=Permission.EVERYBODY, gives=Upgrade, query=_SECRET)
async def websocket(request: Request) -> web.StreamResponse:
    """One of the operation's websockets: the secret alone says which, and that the caller may."""
    operation = request.parts.operations.get(request["id"])
    secret = request.query.get("secret", "")
    if not secret:
        raise Invalid("missing secret")
    future = operation.sockets.get(secret)
    if future is None or future.done():
        raise Forbidden("Forbidden")
    http = await upgrade(request, heartbeat=None)
    socket = WebSocket(http)
    try:
        operation.connect(secret, socket)
    except Forbidden:
        await http.close(code=1008)
        return http
    await _held(operation, socket)
    return http


async def _held(operation: Operation, socket: WebSocket) -> None:
    """Keep the connection until the work has closed it, or forgot to within half a minute of its end."""
    serving = asyncio.ensure_future(socket.serve())
    ended = asyncio.ensure_future(operation.wait())
    try:
        await asyncio.wait([serving, ended], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([serving], timeout=_GRACE)
    finally:
        serving.cancel()
        ended.cancel()
