"""/1.0/instances/{name}/rebuild: the same instance with a new root."""

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes
from hutch.schema.instance import RebuildPost
from hutch.service.instances import rebuild
from hutch.work.operations import Operation

routes = Routes(reads=Permission.PROJECT, writes=Permission.PROJECT)


@routes("POST", "/1.0/instances/{name}/rebuild")
async def post(request: Request, wanted: RebuildPost) -> Operation:
    if not wanted.source.server:
        request.caller.check(wanted.source.project)
    return await rebuild.rebuild(request.parts, request.project, request["name"], wanted)
