"""/1.0/network-allocations"""

from typing import Any

from hutch.access.callers import Permission
from hutch.access.projects import Kind
from hutch.api.wire import Request, Routes
from hutch.schema.answers.network import Allocation
from hutch.service import allocations

routes = Routes(reads=Permission.PROJECT)


@routes("GET", "/1.0/network-allocations", gives=tuple[Allocation, ...])
async def list_all(request: Request) -> list[dict[str, Any]]:
    found = await allocations.every(request.parts, request.home(Kind.NETWORKS))
    return [each | {"used_by": "".join(request.seen([each["used_by"]]))} for each in found]
