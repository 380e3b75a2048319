"""/1.0/networks"""

from typing import Any

from hutch.access.callers import Permission
from hutch.access.projects import Kind
from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.errors import NotFound
from hutch.schema.answers.network import Network, NetworkLease, NetworkState
from hutch.schema.network import NetworkPut, NetworkRecord
from hutch.service import allow, networks

routes = Routes(reads=Permission.PROJECT)


def _place(request: Request) -> str:
    return request.home(Kind.NETWORKS)


def _narrowed(request: Request, document: dict[str, Any]) -> dict[str, Any]:
    return document | {"used_by": request.seen(document["used_by"])}


def _find(request: Request) -> NetworkRecord | None:
    """The network of the path, None for an interface of the host; NotFound when it is not for this project."""
    record = request.parts.state.networks.find(_place(request), request["name"])
    if not allow.sees_network(request.parts, request.project, request["name"], managed=record is not None):
        raise NotFound("Network not found")
    return record


@routes("GET", "/1.0/networks", gives=list[Network])
async def list_all(request: Request) -> Any:
    found = [
        _narrowed(request, each)
        for each in await networks.every(request.parts, _place(request))
        if allow.sees_network(request.parts, request.project, each["name"], managed=each["managed"])
    ]
    return request.listing(found, lambda each: each, lambda each: networks.url(_place(request), each["name"]))


@routes("POST", "/1.0/networks")
async def post(request: Request, wanted: NetworkPut) -> Created:
    record = await networks.create(request.parts, _place(request), wanted)
    return Created(networks.url(_place(request), record.name))


@routes("GET", "/1.0/networks/{name}", gives=Network)
async def get(request: Request) -> Tagged:
    record = _find(request)
    if record is None:
        return Tagged(await networks.interface(_place(request), request["name"]))
    return Tagged(_narrowed(request, networks.document(request.parts, record)), networks.editable(record))


async def _put(request: Request, wanted: NetworkPut, *, merge: bool) -> None:
    await networks.put(
        request.parts,
        _place(request),
        request["name"],
        wanted,
        lambda record: request.match_etag(networks.editable(record)),
        merge=merge,
    )


@routes("PUT", "/1.0/networks/{name}")
async def put(request: Request, wanted: NetworkPut) -> None:
    await _put(request, wanted, merge=False)


@routes("PATCH", "/1.0/networks/{name}")
async def patch(request: Request, wanted: NetworkPut) -> None:
    await _put(request, wanted, merge=True)


@routes("POST", "/1.0/networks/{name}")
async def rename(request: Request, wanted: NetworkPut) -> Created:
    await networks.rename(request.parts, _place(request), request["name"], wanted.name)
    return Created(networks.url(_place(request), wanted.name))


@routes("DELETE", "/1.0/networks/{name}")
async def delete(request: Request) -> None:
    await networks.delete(request.parts, _place(request), request["name"])


@routes("GET", "/1.0/networks/{name}/state", gives=NetworkState)
async def state(request: Request) -> dict[str, Any]:
    _find(request)
    return await networks.state(request.parts, _place(request), request["name"])


@routes("GET", "/1.0/networks/{name}/leases", gives=tuple[NetworkLease, ...])
async def leases(request: Request) -> list[dict[str, str]]:
    if _find(request) is None:
        raise NotFound("Network not found")
    return [
        {
            "hostname": lease.hostname,
            "hwaddr": lease.hwaddr,
            "address": lease.address,
            "type": lease.type,
            "location": "none",
        }
        for lease in await networks.running(request.parts, request["name"]).leases()
    ]
