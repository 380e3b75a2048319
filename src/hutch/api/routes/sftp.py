"""/1.0/instances/NAME/sftp: the connection itself becomes SFTP, with no SSH around it."""

from aiohttp import web

from hutch.access.callers import Permission
from hutch.api.hijack import hijacked
from hutch.api.wire import Request, Routes, Upgrade
from hutch.errors import Invalid
from hutch.service.instances import sftp

routes = Routes(reads=Permission.PROJECT)


@routes("GET", "/1.0/instances/{name}/sftp", gives=Upgrade)
async def get(request: Request) -> web.StreamResponse:
    if request.http.headers.get("Upgrade", "").lower() != "sftp":
        raise Invalid("Missing or invalid upgrade header")
    async with (
        sftp.session(request.parts, request.project, request["name"]) as session,
        hijacked(request.http, "sftp") as (reader, writer),
    ):
        await sftp.relay(session, reader, writer)
    return web.Response()
