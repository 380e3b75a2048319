"""/ and /1.0"""

from typing import Any

from hutch.api.wire import Request, Routes, Tagged
from hutch.errors import Forbidden
from hutch.schema.server import ServerPut
from hutch.service import server

routes = Routes()


@routes("GET", "/", untrusted=True)
async def versions(request: Request) -> list[str]:
    return ["/1.0"]


@routes("GET", "/1.0", untrusted=True)
async def get(request: Request) -> Any:
    if not request.caller.trusted:
        if request.header("authenticated"):
            raise Forbidden("Forbidden")
        return server.guest_view()
    return Tagged(await server.document(request.parts), server.editable(server.settings(request.parts)))


async def _put(request: Request, *, merge: bool) -> None:
    wanted = await request.read(ServerPut)
    request.match_etag(server.editable(server.settings(request.parts)))
    await server.put(request.parts, wanted.config, merge=merge)


@routes("PUT", "/1.0")
async def put(request: Request) -> None:
    await _put(request, merge=False)


@routes("PATCH", "/1.0")
async def patch(request: Request) -> None:
    await _put(request, merge=True)
