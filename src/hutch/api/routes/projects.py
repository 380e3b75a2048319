"""/1.0/projects"""

from typing import Any

from hutch.access.callers import Permission
from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.schema.answers.project import Project, ProjectState
from hutch.schema.project import ProjectPut, ProjectRecord
from hutch.service import allow, projects
from hutch.work.operations import Operation

routes = Routes(scoped=False, reads=Permission.TRUSTED)
PATH = "/1.0/projects/{name}"


def _find(request: Request) -> ProjectRecord:
    request.caller.check(request["name"])
    return request.parts.state.projects.get(request["name"])


@routes("GET", "/1.0/projects", gives=list[Project])
async def list_all(request: Request) -> Any:
    records = [each for each in request.parts.state.projects.all() if request.caller.sees(each.name)]
    return request.listing(
        records, lambda record: projects.document(request.parts, record), lambda record: projects.url(record.name)
    )


@routes("POST", "/1.0/projects")
async def post(request: Request, wanted: ProjectPut) -> Created:
    record = await projects.create(request.parts, wanted)
    return Created(projects.url(record.name))


@routes("GET", PATH, gives=Project)
async def get(request: Request) -> Tagged:
    record = _find(request)
    return Tagged(projects.document(request.parts, record), projects.editable(record))


@routes("GET", f"{PATH}/state", gives=ProjectState)
async def state(request: Request) -> dict[str, Any]:
    record = _find(request)
    return {"resources": allow.usage(request.parts, record)}


async def _put(request: Request, wanted: ProjectPut, *, merge: bool) -> None:
    await projects.put(
        request.parts,
        request["name"],
        wanted,
        lambda record: request.match_etag(projects.editable(record)),
        merge=merge,
    )


@routes("PUT", PATH)
async def put(request: Request, wanted: ProjectPut) -> None:
    await _put(request, wanted, merge=False)


@routes("PATCH", PATH)
async def patch(request: Request, wanted: ProjectPut) -> None:
    await _put(request, wanted, merge=True)


@routes("POST", PATH)
async def rename(request: Request, wanted: ProjectPut) -> Operation:
    return projects.rename(request.parts, request["name"], wanted.name)


@routes("DELETE", PATH)
async def delete(request: Request) -> None:
    await projects.delete(request.parts, request["name"])
