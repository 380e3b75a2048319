"""/1.0/profiles"""

from typing import Any

from hutch.access.callers import Permission
from hutch.access.projects import Kind
from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.schema.answers.profile import Profile
from hutch.schema.profile import ProfilePut, ProfileRecord
from hutch.service import profiles

routes = Routes(reads=Permission.PROJECT, writes=Permission.PROFILES)


def _place(request: Request) -> str:
    return request.home(Kind.PROFILES)


def _document(request: Request, record: ProfileRecord) -> dict[str, Any]:
    found = profiles.document(request.parts, record)
    return found | {"used_by": request.seen(found["used_by"])}


@routes("GET", "/1.0/profiles", needs=Permission.LIST, gives=list[Profile])
async def list_all(request: Request) -> Any:
    records = request.parts.state.profiles.all(*([] if request.all_projects else [_place(request)]))
    if request.all_projects:
        records = [record for record in records if request.sees(record.project)]
    return request.listing(
        records,
        lambda record: _document(request, record),
        lambda record: request.url("profiles", record.name, project=record.project),
    )


@routes("POST", "/1.0/profiles")
async def post(request: Request, wanted: ProfilePut) -> Created:
    record = await profiles.create(request.parts, _place(request), wanted)
    return Created(profiles.url(_place(request), record.name))


@routes("GET", "/1.0/profiles/{name}", gives=Profile)
async def get(request: Request) -> Tagged:
    record = request.parts.state.profiles.get(_place(request), request["name"])
    return Tagged(_document(request, record), profiles.editable(record))


async def _put(request: Request, wanted: ProfilePut, *, merge: bool) -> None:
    await profiles.put(
        request.parts,
        _place(request),
        request["name"],
        wanted,
        lambda record: request.match_etag(profiles.editable(record)),
        merge=merge,
    )


@routes("PUT", "/1.0/profiles/{name}")
async def put(request: Request, wanted: ProfilePut) -> None:
    await _put(request, wanted, merge=False)


@routes("PATCH", "/1.0/profiles/{name}")
async def patch(request: Request, wanted: ProfilePut) -> None:
    await _put(request, wanted, merge=True)


@routes("POST", "/1.0/profiles/{name}")
async def rename(request: Request, wanted: ProfilePut) -> Created:
    await profiles.rename(request.parts, _place(request), request["name"], wanted.name)
    return Created(profiles.url(_place(request), wanted.name))


@routes("DELETE", "/1.0/profiles/{name}")
async def delete(request: Request) -> None:
    await profiles.delete(request.parts, _place(request), request["name"])
