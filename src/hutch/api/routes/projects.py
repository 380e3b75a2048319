"""/1.0/projects: the default project, which isolates nothing"""

from typing import Any

from hutch.api.wire import Request, Routes, Tagged
from hutch.schema.project import ProjectRecord
from hutch.service import profiles
from hutch.service.instances import render

routes = Routes()


def _document(request: Request, record: ProjectRecord) -> dict[str, Any]:
    state = request.parts.state
    used = [render.url(each.project, each.name) for each in state.instances.all(record.name)]
    used += [profiles.url(each.project, each.name) for each in state.profiles.all(record.name)]
    used += [request.url("images", each.fingerprint) for each in state.images.all(record.name)]
    return {"name": record.name, "description": record.description, "config": record.config, "used_by": used}


@routes("GET", "/1.0/projects")
async def list_all(request: Request) -> Any:
    records = request.parts.state.projects.all()
    if not request.recursion:
        return [request.url("projects", record.name, project="default") for record in records]
    return request.matching([_document(request, record) for record in records])


@routes("GET", "/1.0/projects/{name}")
async def get(request: Request) -> Tagged:
    record = request.parts.state.projects.get(request["name"])
    return Tagged(_document(request, record), {"description": record.description, "config": record.config})
