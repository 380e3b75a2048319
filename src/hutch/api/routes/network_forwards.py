"""/1.0/networks/NETWORK/forwards"""

from typing import Any

from hutch.access.callers import Permission
from hutch.access.projects import Kind
from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.errors import NotFound
from hutch.schema.answers.forward import Forward
from hutch.schema.forward import ForwardPut
from hutch.service import allow, forwards

routes = Routes(reads=Permission.PROJECT)


def _place(request: Request) -> str:
    place = request.home(Kind.NETWORKS)
    managed = request.parts.state.networks.find(place, request["name"]) is not None
    if not managed or not allow.sees_network(request.parts, request.project, request["name"], managed=True):
        raise NotFound("Network not found")
    return place


@routes("GET", "/1.0/networks/{name}/forwards", gives=list[Forward])
async def list_all(request: Request) -> Any:
    place = _place(request)
    records = request.parts.state.forwards.all(place, request["name"])
    return request.listing(
        records, forwards.document, lambda record: forwards.url(place, record.network, record.listen_address)
    )


@routes("POST", "/1.0/networks/{name}/forwards")
async def post(request: Request, wanted: ForwardPut) -> Created:
    place = _place(request)
    record = await forwards.create(request.parts, place, request["name"], wanted)
    return Created(forwards.url(place, record.network, record.listen_address))


@routes("GET", "/1.0/networks/{name}/forwards/{address}", gives=Forward)
async def get(request: Request) -> Tagged:
    record = forwards.find(request.parts, _place(request), request["name"], request["address"])
    return Tagged(forwards.document(record), forwards.editable(record))


async def _put(request: Request, wanted: ForwardPut, *, merge: bool) -> None:
    await forwards.put(
        request.parts,
        _place(request),
        request["name"],
        request["address"],
        wanted,
        lambda record: request.match_etag(forwards.editable(record)),
        merge=merge,
    )


@routes("PUT", "/1.0/networks/{name}/forwards/{address}")
async def put(request: Request, wanted: ForwardPut) -> None:
    await _put(request, wanted, merge=False)


@routes("PATCH", "/1.0/networks/{name}/forwards/{address}")
async def patch(request: Request, wanted: ForwardPut) -> None:
    await _put(request, wanted, merge=True)


@routes("DELETE", "/1.0/networks/{name}/forwards/{address}")
async def delete(request: Request) -> None:
    await forwards.delete(request.parts, _place(request), request["name"], request["address"])
