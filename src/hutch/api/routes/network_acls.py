"""/1.0/network-acls"""

from typing import Any

from hutch.access.callers import Permission
from hutch.access.projects import Kind
from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.schema.acl import AclPut, AclRecord
from hutch.schema.answers.acl import Acl
from hutch.service import acls

routes = Routes(reads=Permission.PROJECT, writes=Permission.NETWORKS)


def _place(request: Request) -> str:
    return request.home(Kind.NETWORKS)


def _document(request: Request, record: AclRecord) -> dict[str, Any]:
    found = acls.document(request.parts, record)
    return found | {"used_by": request.seen(found["used_by"])}


@routes("GET", "/1.0/network-acls", gives=list[Acl])
async def list_all(request: Request) -> Any:
    records = request.parts.state.acls.all(_place(request))
    return request.listing(
        records, lambda record: _document(request, record), lambda record: acls.url(record.project, record.name)
    )


@routes("POST", "/1.0/network-acls")
async def post(request: Request, wanted: AclPut) -> Created:
    record = await acls.create(request.parts, _place(request), wanted)
    return Created(acls.url(_place(request), record.name))


@routes("GET", "/1.0/network-acls/{name}", gives=Acl)
async def get(request: Request) -> Tagged:
    record = request.parts.state.acls.get(_place(request), request["name"])
    return Tagged(_document(request, record), acls.editable(record))


async def _put(request: Request, wanted: AclPut, *, merge: bool) -> None:
    await acls.put(
        request.parts,
        _place(request),
        request["name"],
        wanted,
        lambda record: request.match_etag(acls.editable(record)),
        merge=merge,
    )


@routes("PUT", "/1.0/network-acls/{name}")
async def put(request: Request, wanted: AclPut) -> None:
    await _put(request, wanted, merge=False)


@routes("PATCH", "/1.0/network-acls/{name}")
async def patch(request: Request, wanted: AclPut) -> None:
    await _put(request, wanted, merge=True)


@routes("POST", "/1.0/network-acls/{name}")
async def rename(request: Request, wanted: AclPut) -> Created:
    await acls.rename(request.parts, _place(request), request["name"], wanted.name)
    return Created(acls.url(_place(request), wanted.name))


@routes("DELETE", "/1.0/network-acls/{name}")
async def delete(request: Request) -> None:
    await acls.delete(request.parts, _place(request), request["name"])
