"""Families of which a single host has nothing: clients ask for them and expect an empty answer"""

from typing import Any

from hutch.api.wire import Request, Routes

routes = Routes()


@routes("GET", "/1.0/cluster")
async def cluster(request: Request) -> dict[str, Any]:
    return {"server_name": "", "enabled": False, "member_config": []}


@routes("GET", "/1.0/warnings")
async def warnings(request: Request) -> list[str]:
    return []
