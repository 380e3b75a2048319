"""/1.0/instances/NAME/files: one path of an instance's filesystem, streamed; its facts travel in headers."""

import logging
from collections.abc import AsyncIterator
from urllib.parse import quote

from aiohttp import web

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes, answer
from hutch.errors import HutchError, Invalid
from hutch.service.instances import files
from hutch.service.instances.files import BLOCK, Entry, Facts, Wanted

log = logging.getLogger(__name__)
routes = Routes(reads=Permission.PROJECT, writes=Permission.PROJECT)
PATH = "/1.0/instances/{name}/files"
_QUERY = {"path": "The path in the instance"}


@routes("GET", PATH, gives=(bytes, list[str]), query=_QUERY)
async def get(request: Request) -> web.StreamResponse:
    path = _path(request)
    async with files.opened(request.parts, request.project, request["name"], path) as entry:
        headers = _headers(entry.facts)
        if entry.facts.kind == "directory":
            listing = answer([name.encode(errors="surrogateescape").decode(errors="replace") for name in entry.names])
            listing.headers.update(headers)
            return listing
        headers["Content-Disposition"] = f"inline;filename={quote(path.rstrip('/').rpartition('/')[2])}"
        if entry.facts.kind == "symlink":
            return web.Response(body=entry.target, headers=headers, content_type="application/octet-stream")
        return await _stream(request, entry, headers)


async def _stream(request: Request, entry: Entry, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    response.content_type = "application/octet-stream"
    if entry.facts.size:
        response.content_length = entry.facts.size
    await response.prepare(request.http)
    left = entry.facts.size
    try:
        async for block in entry.blocks():
            await response.write(block)
            left -= len(block)
    except HutchError as error:
        log.warning("file %s of instance %s was not sent to its end: %s", entry.path, request["name"], error)
        _break_off(request)
    if left > 0:
        _break_off(request)
    await response.write_eof()
    return response


def _break_off(request: Request) -> None:
    """The header promised more than there is: only a broken connection tells the client."""
    if request.http.transport is not None:
        request.http.transport.abort()
    raise ConnectionResetError("the file became shorter while it was sent")


@routes("HEAD", PATH, gives=bytes, query=_QUERY)
async def head(request: Request) -> web.StreamResponse:
    async with files.opened(request.parts, request.project, request["name"], _path(request)) as entry:
        response = web.StreamResponse(headers=_headers(entry.facts))
        response.content_type = "application/octet-stream"
        if entry.facts.kind == "file":
            response.content_length = entry.facts.size
        return response


@routes("POST", PATH, takes=bytes, query=_QUERY)
async def post(request: Request) -> None:
    mode = request.header("write") or "overwrite"
    if mode not in ("overwrite", "append"):
        raise Invalid(f"Bad file write mode: {mode}")
    wanted = Wanted(
        kind=request.header("type") or "file",
        mode=_number(request, "mode", 8),
        uid=_number(request, "uid", 10),
        gid=_number(request, "gid", 10),
        append=mode == "append",
        modify=(request.header("modify-perm") or "").lower() in ("1", "true"),
    )
    if wanted.mode is not None:
        wanted = Wanted(**(wanted.__dict__ | {"mode": wanted.mode & 0o7777}))
    await files.write(request.parts, request.project, request["name"], _path(request), wanted, _body(request))


@routes("DELETE", PATH, query=_QUERY)
async def delete(request: Request) -> None:
    await files.delete(request.parts, request.project, request["name"], _path(request))


async def _body(request: Request) -> AsyncIterator[bytes]:
    """The body in large blocks."""
    gathered = bytearray()
    async for chunk in request.http.content.iter_any():
        gathered += chunk
        if len(gathered) >= BLOCK:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def _path(request: Request) -> str:
    if not (path := request.query.get("path", "")):
        raise Invalid("Missing path argument")
    return path


def _number(request: Request, name: str, base: int) -> int | None:
    text = request.header(name)
    if text is None or text == "":
        return None
    try:
        number = int(text, base)
    except ValueError:
        raise Invalid(f"the header {name} is no number: {text!r}") from None
    return number if number >= 0 else None


def _headers(facts: Facts) -> dict[str, str]:
    """In both dialects."""
    values = {
        "uid": str(facts.uid),
        "gid": str(facts.gid),
        "mode": f"{facts.mode:04o}",
        "modified": facts.modified.strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC"),
        "type": facts.kind,
    }
    return {f"X-{dialect}-{name}": value for dialect in ("LXD", "Incus") for name, value in values.items()}
