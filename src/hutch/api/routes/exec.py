"""/1.0/instances/NAME/exec."""

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes
from hutch.schema.instance import ExecPost
from hutch.service.instances import exec as verb
from hutch.work.operations import Operation

routes = Routes(reads=Permission.PROJECT, writes=Permission.PROJECT)


@routes("POST", "/1.0/instances/{name}/exec")
async def post(request: Request, wanted: ExecPost) -> Operation:
    return await verb.start(request.parts, request.project, request["name"], wanted)
