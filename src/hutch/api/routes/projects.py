"""/1.0/projects"""

from typing import Any

from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.schema.project import ProjectPut
from hutch.service import projects
from hutch.work.operations import Operation

routes = Routes()
PATH = "/1.0/projects/{name}"


@routes("GET", "/1.0/projects")
async def list_all(request: Request) -> Any:
    records = request.parts.state.projects.all()
    if not request.recursion:
        return [projects.url(record.name) for record in records]
    return request.matching([projects.document(request.parts, record) for record in records])


@routes("POST", "/1.0/projects")
async def post(request: Request) -> Created:
    record = await projects.create(request.parts, await request.read(ProjectPut))
    return Created(projects.url(record.name))


@routes("GET", PATH)
async def get(request: Request) -> Tagged:
    record = request.parts.state.projects.get(request["name"])
    return Tagged(projects.document(request.parts, record), projects.editable(record))


async def _put(request: Request, *, merge: bool) -> None:
    await projects.put(
        request.parts,
        request["name"],
        await request.read(ProjectPut),
        lambda record: request.match_etag(projects.editable(record)),
        merge=merge,
    )


@routes("PUT", PATH)
async def put(request: Request) -> None:
    await _put(request, merge=False)


@routes("PATCH", PATH)
async def patch(request: Request) -> None:
    await _put(request, merge=True)


@routes("POST", PATH)
async def rename(request: Request) -> Operation:
    return projects.rename(request.parts, request["name"], (await request.read(ProjectPut)).name)


@routes("DELETE", PATH)
async def delete(request: Request) -> None:
    await projects.delete(request.parts, request["name"])
