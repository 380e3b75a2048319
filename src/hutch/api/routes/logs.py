"""/1.0/instances/NAME/logs: the log files of an instance, raw."""

import asyncio
import os

from aiohttp import web

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes
from hutch.service.instances import logs

routes = Routes(reads=Permission.PROJECT, writes=Permission.PROJECT)
PATH = "/1.0/instances/{name}/logs"
RECORDED = PATH + "/exec-output"
"""What commands printed, by its newer path too."""
_BLOCK = 1 << 20


@routes("GET", PATH)
async def get(request: Request) -> list[str]:
    names = await logs.names(request.parts, request.project, request["name"])
    return [request.url(request.collection, request["name"], "logs", name) for name in names]


@routes("GET", RECORDED)
async def recorded(request: Request) -> list[str]:
    names = await logs.names(request.parts, request.project, request["name"])
    words = (request.collection, request["name"], "logs", "exec-output")
    return [request.url(*words, name) for name in names if logs.is_recorded(name)]


@routes("GET", RECORDED + "/{file}")
async def get_recorded(request: Request) -> web.StreamResponse:
    logs.check_recorded(request["file"])
    return await _send(request)


@routes("DELETE", RECORDED + "/{file}")
async def delete_recorded(request: Request) -> None:
    logs.check_recorded(request["file"])
    await delete(request)


@routes("GET", PATH + "/{file}")
async def get_one(request: Request) -> web.StreamResponse:
    return await _send(request)


async def _send(request: Request) -> web.StreamResponse:
    fd, size = await logs.open_file(request.parts, request.project, request["name"], request["file"])
    try:
        response = web.StreamResponse(headers={"Content-Disposition": f"inline;filename={request['file']}"})
        response.content_type = "application/octet-stream"
        response.content_length = size
        await response.prepare(request.http)
        while size > 0 and (block := await asyncio.to_thread(os.read, fd, min(_BLOCK, size))):
            size -= len(block)
            await response.write(block)
    finally:
        os.close(fd)
    if size and request.http.transport is not None:
        request.http.transport.abort()
    return response


@routes("DELETE", PATH + "/{file}")
async def delete(request: Request) -> None:
    await logs.delete(request.parts, request.project, request["name"], request["file"])
