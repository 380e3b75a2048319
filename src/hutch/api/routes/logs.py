"""/1.0/instances/NAME/logs: the log files of an instance, raw."""

import asyncio
import os

from aiohttp import web

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes
from hutch.service.instances import logs

routes = Routes(reads=Permission.PROJECT, writes=Permission.PROJECT)
PATH = "/1.0/instances/{name}/logs"
_BLOCK = 1 << 20


@routes("GET", PATH)
async def get(request: Request) -> list[str]:
    names = await logs.names(request.parts, request.project, request["name"])
    return [request.url(request.collection, request["name"], "logs", name) for name in names]


@routes("GET", PATH + "/{file}")
async def get_one(request: Request) -> web.StreamResponse:
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
