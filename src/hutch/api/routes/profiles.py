"""/1.0/profiles"""

from typing import Any

from hutch.access.projects import Kind
from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.schema.profile import ProfilePut
from hutch.service import profiles

routes = Routes()


def _place(request: Request) -> str:
    return request.home(Kind.PROFILES)


@routes("GET", "/1.0/profiles")
async def list_all(request: Request) -> Any:
    records = request.parts.state.profiles.all(*([] if request.all_projects else [_place(request)]))
    if not request.recursion:
        return [request.url("profiles", record.name, project=record.project) for record in records]
    return request.matching([profiles.document(request.parts, record) for record in records])


@routes("POST", "/1.0/profiles")
async def post(request: Request) -> Created:
    record = await profiles.create(request.parts, _place(request), await request.read(ProfilePut))
    return Created(profiles.url(_place(request), record.name))


@routes("GET", "/1.0/profiles/{name}")
async def get(request: Request) -> Tagged:
    record = request.parts.state.profiles.get(_place(request), request["name"])
    return Tagged(profiles.document(request.parts, record), profiles.editable(record))


async def _put(request: Request, *, merge: bool) -> None:
    await profiles.put(
        request.parts,
        _place(request),
        request["name"],
        await request.read(ProfilePut),
        lambda record: request.match_etag(profiles.editable(record)),
        merge=merge,
    )


@routes("PUT", "/1.0/profiles/{name}")
async def put(request: Request) -> None:
    await _put(request, merge=False)


@routes("PATCH", "/1.0/profiles/{name}")
async def patch(request: Request) -> None:
    await _put(request, merge=True)


@routes("POST", "/1.0/profiles/{name}")
async def rename(request: Request) -> Created:
    new = (await request.read(ProfilePut)).name
    await profiles.rename(request.parts, _place(request), request["name"], new)
    return Created(profiles.url(_place(request), new))


@routes("DELETE", "/1.0/profiles/{name}")
async def delete(request: Request) -> None:
    await profiles.delete(request.parts, _place(request), request["name"])
