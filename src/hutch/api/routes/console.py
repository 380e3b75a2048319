"""/1.0/instances/NAME/console."""

from aiohttp import web

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes
from hutch.schema.instance import ConsolePost
from hutch.service.instances import console
from hutch.work.operations import Operation

routes = Routes(reads=Permission.PROJECT, writes=Permission.PROJECT)
PATH = "/1.0/instances/{name}/console"


@routes("GET", PATH)
async def get(request: Request) -> web.Response:
    text = await console.text(request.parts, request.project, request["name"])
    headers = {"Content-Disposition": "inline;filename=console.log"}
    return web.Response(body=text, content_type="application/octet-stream", headers=headers)


@routes("POST", PATH)
async def post(request: Request, wanted: ConsolePost) -> Operation:
    return console.start(request.parts, request.project, request["name"], wanted)


@routes("DELETE", PATH)
async def delete(request: Request) -> None:
    await console.clear(request.parts, request.project, request["name"])
