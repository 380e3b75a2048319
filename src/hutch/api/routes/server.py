"""/ and /1.0"""

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes, Tagged
from hutch.errors import Forbidden
from hutch.schema.answers.server import Server
from hutch.schema.server import ServerPut
from hutch.service import server

routes = Routes(scoped=False, reads=Permission.EVERYBODY)


@routes("GET", "/")
async def versions(request: Request) -> list[str]:
    return ["/1.0"]


@routes("GET", "/1.0", gives=Server)
async def get(request: Request) -> Tagged:
    if not request.caller.trusted:
        if request.header("authenticated"):
            raise Forbidden("Forbidden")
        return Tagged(server.guest_view())
    shown = await server.document(request.parts, request.caller, request.project)
    return Tagged(shown, server.editable(server.settings(request.parts)))


async def _put(request: Request, wanted: ServerPut, *, merge: bool) -> None:
    request.match_etag(server.editable(server.settings(request.parts)))
    await server.put(request.parts, wanted.config, merge=merge)


@routes("PUT", "/1.0")
async def put(request: Request, wanted: ServerPut) -> None:
    await _put(request, wanted, merge=False)


@routes("PATCH", "/1.0")
async def patch(request: Request, wanted: ServerPut) -> None:
    await _put(request, wanted, merge=True)
