"""Routes, envelopes and errors: how a handler's answer becomes HTTP.

A handler is `async def put(request: Request, wanted: ProfilePut) -> Answer`: the second parameter, if there is one, is
the request's document, decoded. Plain data is answered as a sync envelope, an Operation as an async one (202), Created
as 201 with a Location; an aiohttp response goes out as it is. HutchError becomes an error envelope with its status.
The envelope is LXD's (api-compat section 2). What is declared here is what /1.0/openapi.json tells (decision 22).
"""

import asyncio
import contextlib
import hashlib
import inspect
import logging
import re
import socket as sockets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from aiohttp import WSMsgType, web

from hutch.access import callers
from hutch.access.callers import Caller, Permission
from hutch.access.projects import Kind, home
from hutch.api import filter as filters
from hutch.api import pages
from hutch.errors import HutchError, Invalid, NotFound, PreconditionFailed, TooLarge, Unsupported
from hutch.schema.base import decode, encode
from hutch.service import server, users
from hutch.service.parts import Parts
from hutch.work.events import requestor
from hutch.work.operations import Operation, asking

log = logging.getLogger(__name__)
Document = TypeVar("Document")

PARTS: web.AppKey[Parts] = web.AppKey("parts", Parts)
_KEEPALIVE, _FAREWELL = 10.0, 1.0
_UNACKNOWLEDGED = 30_000
_LARGEST, _STRANGERS = 16 << 20, 64 << 10
"""The longest JSON bodies: of trusted callers, and of others."""
_PATIENCE = 30.0

TRUSTED: web.RequestKey[bool] = web.RequestKey("trusted", bool)
CALLER: web.AppKey[Callable[[web.Request], Caller]] = web.AppKey("caller", Callable)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Created:
    """Something was made by a sync call; `url` goes into Location."""

    url: str
    metadata: Any = None


@dataclass(frozen=True)
class Tagged:
    """A document with the editable part its ETag stands for."""

    document: Any
    editable: Any = None


@dataclass(frozen=True)
class Rendered:
    """Metadata that is JSON already."""

    json: bytes


class Bare:
    """What a route gives that answers a JSON object without an envelope."""


class Text:
    """What a route gives that answers plain text."""


class Upgrade:
    """What a route gives that turns the connection into a websocket or another protocol."""


class Request:
    """What a handler may know of a request."""

    def __init__(self, http: web.Request, parts: Parts, caller: Caller) -> None:
        self.http, self.parts, self.caller = http, parts, caller
        self.query: Mapping[str, str] = http.query
        self.project = http.query.get("project") or caller.project

    def admit(self, needs: Permission, project: str = "") -> None:
        """Forbidden when the caller may not do what needs this permission in the project of the request, or in another
        that its document names."""
        place = project or self.project
        callers.check(self.parts.state, self.caller, needs, place, all_projects=self.all_projects)

    def sees(self, project: str) -> bool:
        """Whether a listing shows what is in the project: the request's own, or each that the caller may know of."""
        return self.caller.sees(project) and (self.all_projects or project == self.project)

    def seen(self, urls: Iterable[str]) -> list[str]:
        """Those of the URLs that name things of projects which the caller may know of."""
        return [url for url in urls if self.caller.is_admin or self.caller.sees(_project_of(url))]

    def __getitem__(self, name: str) -> str:
        """A part of the path, decoded."""
        return self.http.match_info[name]

    @property
    def collection(self) -> str:
        """The path's first word below /1.0: `instances`, or the old `containers`, which listings must echo."""
        return self.http.path.split("/")[2]

    @property
    def recursion(self) -> int:
        text = self.query.get("recursion", "0").partition(";")[0]
        return int(text) if text.isdigit() else 0

    def home(self, kind: Kind) -> str:
        """The project in which the things of a kind are that this request sees."""
        return home(self.parts.state, self.project, kind)

    @property
    def all_projects(self) -> bool:
        return self.flag("all-projects")

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("1", "true", "yes", "on")

    def header(self, name: str) -> str | None:
        """A header of either dialect: `uid` is X-LXD-uid or X-Incus-uid."""
        for dialect in ("X-LXD-", "X-Incus-"):
            if (value := self.http.headers.get(dialect + name)) is not None:
                return value
        return None

    @property
    def is_file(self) -> bool:
        """Whether the body is said to be a file. Ansible does not say what it sends, and means JSON."""
        return self.http.headers.get("Content-Type", "").startswith("application/octet-stream")

    async def read(self, kind: type[Document]) -> Document:
        """The JSON body. A missing Content-Type, null and unknown members are forgiven."""
        body = await self._body()
        if body.strip() in (b"", b"null"):
            body = b"{}"
        return decode(_without_nulls(body), kind)

    async def _body(self) -> bytes:
        """All of it; of somebody without trust no more than a certificate needs, and not for ever."""
        if self.caller.trusted:
            return await self.http.read()
        length = self.http.content_length
        if self.http.body_exists and (length is None or length > _STRANGERS):
            raise TooLarge(f"the request is too long: {_STRANGERS} bytes are taken from clients that are not trusted")
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self.http.read()
        except TimeoutError as error:
            raise Invalid("the request did not come in time") from error

    def url(self, *words: str, project: str | None = None) -> str:
        """A URL below /1.0 with its words escaped, and the project when it is not the default one."""
        path = "/".join(["/1.0", *(quote(word, safe="") for word in words)])
        wanted = self.project if project is None else project
        return path if wanted == "default" else f"{path}?project={quote(wanted, safe='')}"

    @property
    def state_fields(self) -> frozenset[str] | None:
        """What `recursion=2;fields=state.disk,state.network` asks for of the state: None for all, nothing for no state."""
        for word in self.query.get("recursion", "").split(";")[1:]:
            name, _, value = word.partition("=")
            if name.strip() == "fields":
                return frozenset(each.strip() for each in value.split(",") if each.strip())
        return None

    def matching(self, documents: Iterable[Document]) -> list[Document]:
        """The documents that the `filter` of the query accepts."""
        accepts = self._accepts()
        return [document for document in documents if accepts(document)]

    def _accepts(self) -> Callable[[Any], bool]:
        text = self.query.get("filter", "")
        return filters.parse(text) if text else lambda _: True

    def listing(
        self, things: Iterable[Document], document: Callable[[Document], Any], url: Callable[[Document], str]
    ) -> list[Any]:
        """The URLs, or with recursion the documents, of the things that the `filter` of the query accepts."""
        if not self.recursion and not self.query.get("filter"):
            return [url(each) for each in things]
        accepts = self._accepts()
        shown = [(document(each), url(each)) for each in things]
        return [made if self.recursion else where for made, where in shown if accepts(made)]

    def match_etag(self, editable: Any) -> None:
        """PreconditionFailed when If-Match names another version of the thing."""
        wanted = self.http.headers.get("If-Match", "").strip('"')
        if wanted and wanted != (current := etag(editable)):
            raise PreconditionFailed(f"ETag doesn't match: {current} vs {wanted}")


def _project_of(url: str) -> str:
    return unquote(url.partition("project=")[2].partition("&")[0]) or "default"


def _without_nulls(body: bytes) -> bytes:
    """Members that are null count as missing: pylxd and Ansible send them."""
    if b"null" not in body:
        return body
    return encode(_drop_nulls(decode(body, object)))


def _drop_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _drop_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_drop_nulls(inner) for inner in value]
    return value


Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """`takes` is the request's document (`bytes`: raw), `gives` what is in the envelope of a sync answer (`bytes`: raw,
    no envelope; `Bare`; `Text`; `Upgrade`), either a tuple where there are several; `query` has the parameters of this path alone."""

    method: str
    path: str
    handler: Handler
    needs: Permission = Permission.ADMIN
    takes: Any = None
    gives: Any = None
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def reads(self) -> Any:
        """The document that the handler wants decoded, None when it reads the request itself."""
        parameters = list(inspect.signature(self.handler).parameters.values())
        return parameters[1].annotation if len(parameters) > 1 else None


@dataclass
class Routes:
    """The routes of one URL family; each module of api/routes has one called `routes`. `scoped`: in a project.
    `reads` is what GET and HEAD need of the caller, `writes` what the other methods do: nobody but an unrestricted
    client is let in where nothing is said."""

    scoped: bool = True
    reads: Permission = Permission.ADMIN
    writes: Permission = Permission.ADMIN
    routes: list[Route] = field(default_factory=list)

    def __call__(
        self,
        method: str,
        path: str,
        *,
        needs: Permission | None = None,
        takes: Any = None,
        gives: Any = None,
        query: Mapping[str, str] | None = None,
    ) -> Callable[[Handler], Handler]:
        """Serve `method path` with the decorated handler. `needs`: what it needs of the caller in place of the
        family's. The rest says what the signature does not: see Route."""
        usual = self.reads if method in ("GET", "HEAD") else self.writes

        def register(handler: Handler) -> Handler:
            route = Route(method, path, handler, needs or usual, takes, gives, query or {})
            self.routes.append(replace(route, takes=route.reads or takes))
            return handler

        return register


def etag(editable: Any) -> str:
    """A stable hash of what can be edited; volatile.* and times must not be in it."""
    return hashlib.sha256(encode(editable)).hexdigest()


def _body(metadata: bytes, operation: str = "") -> bytes:
    kind = (
        b'"async","status":"Operation created","status_code":100'
        if operation
        else b'"sync","status":"Success","status_code":200'
    )
    return b'{"type":%b,"operation":"%b","error_code":0,"error":"","metadata":%b}\n' % (
        kind,
        operation.encode(),
        metadata,
    )


def answer(value: Any) -> web.StreamResponse:
    """A handler's result as HTTP."""
    if isinstance(value, web.StreamResponse):
        return value
    status, headers, operation = 200, {}, ""
    if isinstance(value, Operation):
        status, headers["Location"], operation = 202, value.url, value.url
        value = value.document()
    elif isinstance(value, Created):
        status, headers["Location"], value = 201, value.url, value.metadata
    elif isinstance(value, Tagged):
        headers["ETag"] = f'"{etag(value.editable if value.editable is not None else value.document)}"'
        value = value.document
    metadata = value.json if isinstance(value, Rendered) else encode(value)
    return web.Response(
        body=_body(metadata, operation), status=status, headers=headers, content_type="application/json"
    )


def failure(error: HutchError) -> web.Response:
    body = {
        "type": "error",
        "status": "",
        "status_code": 0,
        "operation": "",
        "error_code": error.status,
        "error": str(error),
        "metadata": None,
    }
    return web.Response(body=encode(body), status=error.status, content_type="application/json")


def _serve(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    reads = route.reads

    async def serve(http: web.Request) -> web.StreamResponse:
        """A connection of somebody without trust is good for one request."""
        response = await respond(http)
        if not response.prepared and not http.get(TRUSTED):
            response.force_close()
        return response

    async def respond(http: web.Request) -> web.StreamResponse:
        try:
            caller = http.app[CALLER](http)
            http[TRUSTED] = caller.trusted
            token = requestor.set(caller.requestor)
            try:
                request = Request(http, http.app[PARTS], caller)
                asking.set(request.project)
                if caller.user is not None:
                    await users.settle(request.parts, caller.user)
                request.admit(route.needs)
                if http.method != "GET" and request.project != "default":
                    request.parts.state.projects.get(request.project)
                wanted = (await request.read(reads),) if reads is not None else ()
                return answer(await route.handler(request, *wanted))
            finally:
                requestor.reset(token)
        except HutchError as error:
            return failure(error)
        except web.HTTPRequestEntityTooLarge:
            return failure(TooLarge(f"the request is too long: {_LARGEST} bytes are taken"))
        except (web.HTTPException, ConnectionResetError):
            raise
        except Exception as error:
            log.exception("%s %s failed", http.method, http.path)
            return failure(HutchError(f"{type(error).__name__}: {error}"))

    return serve


_OLD_NAMES = ("containers", "virtual-machines")


def application(parts: Parts, caller: Callable[[web.Request], Caller], families: Iterable[Routes]) -> web.Application:
    """The API as an aiohttp application. The instances' tree is served under its two old names as well."""
    app = web.Application(client_max_size=_LARGEST)
    app[PARTS], app[CALLER] = parts, caller

    async def before(http: web.Request, response: web.StreamResponse) -> None:
        if "Origin" in http.headers:
            pages.let_in(server.settings(parts).config, response)

    app.on_response_prepare.append(before)
    known: dict[str, set[str]] = {}
    for family in families:
        for route in family.routes:
            for path in _paths(route.path):
                app.router.add_route(route.method, path, _serve(route))
                known.setdefault(path, set()).add(route.method)
    for path in known:
        app.router.add_route("*", path, _not_implemented)
    app.router.add_route("*", "/{path:.*}", _not_found)
    return app


def _paths(path: str) -> list[str]:
    if not re.match(r"/1\.0/instances(/|$)", path):
        return [path]
    return [path, *(path.replace("/1.0/instances", f"/1.0/{name}", 1) for name in _OLD_NAMES)]


async def _not_found(http: web.Request) -> web.Response:
    return failure(NotFound("not found"))


async def _not_implemented(http: web.Request) -> web.Response:
    if http.method == "OPTIONS":
        return web.Response()
    return failure(Unsupported("not implemented"))


class WebSocket:
    """A work.operations.Socket over aiohttp. Frames are handed over one at a time, so that memory stays flat."""

    def __init__(self, http: web.WebSocketResponse) -> None:
        self.http = http
        self.closed = asyncio.Event()

    async def receive(self) -> bytes | str | None:
        if self.http.closed:
            return None
        message = await self.http.receive()
        if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
            return message.data  # type: ignore[no-any-return]
        return None

    async def send(self, data: bytes | str) -> None:
        if isinstance(data, str):
            await self.http.send_str(data)
        else:
            await self.http.send_bytes(data)

    async def close(self) -> None:
        try:
            await self.http.close()
        finally:
            self.closed.set()

    async def serve(self) -> None:
        """Hold the request open until `close`, with a ping every ten seconds.

        No pong is asked for: a peer that is not read from, because the work cannot take more, looks dead but is not.
        """
        while True:
            try:
                async with asyncio.timeout(_KEEPALIVE):
                    await self.closed.wait()
                return
            except TimeoutError:
                with contextlib.suppress(ConnectionError, TimeoutError):
                    async with asyncio.timeout(_KEEPALIVE):
                        await self.http.ping(b"keepalive")


async def upgrade(request: Request, heartbeat: float | None = 10) -> web.WebSocketResponse:
    """The request as a websocket; Invalid when it is none."""
    socket = web.WebSocketResponse(timeout=_FAREWELL, heartbeat=heartbeat, max_msg_size=16 << 20, compress=False)
    if not socket.can_prepare(request.http).ok:
        raise Invalid("this URL is a websocket: an Upgrade request is expected")
    await socket.prepare(request.http)
    _give_up_on_silence(request.http)
    return socket


def _give_up_on_silence(http: web.Request) -> None:
    """A host that went away without a word is noticed when the pings to it stay unacknowledged."""
    peer = http.transport.get_extra_info("socket") if http.transport is not None else None
    if peer is not None and peer.family in (sockets.AF_INET, sockets.AF_INET6):
        peer.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_USER_TIMEOUT, _UNACKNOWLEDGED)
