"""Families of which a single host has nothing: clients ask for them and expect an empty answer"""

from typing import Any

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes
from hutch.schema.answers.server import Cluster

routes = Routes(scoped=False)


@routes("GET", "/1.0/cluster", needs=Permission.TRUSTED, gives=Cluster)
async def cluster(request: Request) -> dict[str, Any]:
    return {"server_name": "", "enabled": False, "member_config": []}
