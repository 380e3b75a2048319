"""/1.0/checkpoint and /1.0/instances/{name}/checkpoint-check: hutch's own, `hutch move --check` asks them"""

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes
from hutch.schema.rehearsal import CheckpointCheck, CheckpointHost
from hutch.service.instances import rehearsal
from hutch.work.operations import Operation

routes = Routes(reads=Permission.TRUSTED, writes=Permission.PROJECT)


@routes("GET", "/1.0/checkpoint")
async def get(request: Request) -> CheckpointHost:
    return await rehearsal.host(request.parts)


@routes("POST", "/1.0/instances/{name}/checkpoint-check")
async def post(request: Request, wanted: CheckpointCheck) -> Operation:
    return rehearsal.check(request.parts, request.project, request["name"], wanted)
