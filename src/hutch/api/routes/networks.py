"""/1.0/networks"""

from typing import Any

from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.errors import NotFound
from hutch.schema.network import NetworkPut
from hutch.service import networks

routes = Routes()


@routes("GET", "/1.0/networks")
async def list_all(request: Request) -> Any:
    records = request.parts.state.networks.all(request.project)
    managed = {record.name: networks.document(request.parts, record) for record in records}
    found = await networks.unmanaged() | managed
    if not request.recursion:
        return [request.url("networks", name) for name in sorted(found)]
    return request.matching([found[name] for name in sorted(found)])


@routes("POST", "/1.0/networks")
async def post(request: Request) -> Created:
    record = await networks.create(request.parts, request.project, await request.read(NetworkPut))
    return Created(networks.url(request.project, record.name))


@routes("GET", "/1.0/networks/{name}")
async def get(request: Request) -> Any:
    record = request.parts.state.networks.find(request.project, request["name"])
    if record is None:
        if (link := (await networks.unmanaged()).get(request["name"])) is None:
            raise NotFound("Network not found")
        return Tagged(link)
    return Tagged(networks.document(request.parts, record), networks.editable(record))


async def _put(request: Request, *, merge: bool) -> None:
    await networks.put(
        request.parts,
        request.project,
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
    await networks.rename(request.parts, request.project, request["name"], new)
    return Created(networks.url(request.project, new))


@routes("DELETE", "/1.0/networks/{name}")
async def delete(request: Request) -> None:
    await networks.delete(request.parts, request.project, request["name"])


@routes("GET", "/1.0/networks/{name}/state")
async def state(request: Request) -> dict[str, Any]:
    return await networks.state(request.parts, request.project, request["name"])


@routes("GET", "/1.0/networks/{name}/leases")
async def leases(request: Request) -> list[dict[str, str]]:
    request.parts.state.networks.get(request.project, request["name"])
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
