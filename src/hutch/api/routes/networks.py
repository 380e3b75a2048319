"""/1.0/networks"""

from typing import Any

from hutch.access.projects import Kind
from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.schema.network import NetworkPut
from hutch.service import networks

routes = Routes()


def _place(request: Request) -> str:
    return request.home(Kind.NETWORKS)


@routes("GET", "/1.0/networks")
async def list_all(request: Request) -> Any:
    found = await networks.every(request.parts, _place(request))
    if not request.recursion:
        return [networks.url(_place(request), each["name"]) for each in found]
    return request.matching(found)


@routes("POST", "/1.0/networks")
async def post(request: Request) -> Created:
    record = await networks.create(request.parts, _place(request), await request.read(NetworkPut))
    return Created(networks.url(_place(request), record.name))


@routes("GET", "/1.0/networks/{name}")
async def get(request: Request) -> Any:
    record = request.parts.state.networks.find(_place(request), request["name"])
    if record is None:
        return Tagged(await networks.interface(_place(request), request["name"]))
    return Tagged(networks.document(request.parts, record), networks.editable(record))


async def _put(request: Request, *, merge: bool) -> None:
    await networks.put(
        request.parts,
        _place(request),
        request["name"],
        await request.read(NetworkPut),
        lambda record: request.match_etag(networks.editable(record)),
        merge=merge,
    )


@routes("PUT", "/1.0/networks/{name}")
async def put(request: Request) -> None:
    await _put(request, merge=False)


@routes("PATCH", "/1.0/networks/{name}")
async def patch(request: Request) -> None:
    await _put(request, merge=True)


@routes("POST", "/1.0/networks/{name}")
async def rename(request: Request) -> Created:
    new = (await request.read(NetworkPut)).name
    await networks.rename(request.parts, _place(request), request["name"], new)
    return Created(networks.url(_place(request), new))


@routes("DELETE", "/1.0/networks/{name}")
async def delete(request: Request) -> None:
    await networks.delete(request.parts, _place(request), request["name"])


@routes("GET", "/1.0/networks/{name}/state")
async def state(request: Request) -> dict[str, Any]:
    return await networks.state(request.parts, _place(request), request["name"])


@routes("GET", "/1.0/networks/{name}/leases")
async def leases(request: Request) -> list[dict[str, str]]:
    request.parts.state.networks.get(_place(request), request["name"])
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
