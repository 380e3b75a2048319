"""/1.0/storage-pools"""

from typing import Any

from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.schema.answers.storage import StoragePool, StoragePoolResources, StorageVolume, StorageVolumeState
from hutch.schema.storage import PoolPut
from hutch.service import pools, volumes

routes = Routes()


@routes("GET", "/1.0/storage-pools", gives=list[StoragePool])
async def list_all(request: Request) -> Any:
    records = request.parts.state.pools.all()
    if not request.recursion:
        return [pools.url(record.name) for record in records]
    return request.matching([pools.document(request.parts, record) for record in records])


@routes("POST", "/1.0/storage-pools")
async def post(request: Request, wanted: PoolPut) -> Created:
    record = await pools.create(request.parts, wanted)
    return Created(pools.url(record.name))


@routes("GET", "/1.0/storage-pools/{name}", gives=StoragePool)
async def get(request: Request) -> Tagged:
    record = request.parts.state.pools.get(request["name"])
    return Tagged(pools.document(request.parts, record), pools.editable(record))


async def _put(request: Request, wanted: PoolPut, *, merge: bool) -> None:
    await pools.put(
        request.parts,
        request["name"],
        wanted,
        lambda record: request.match_etag(pools.editable(record)),
        merge=merge,
    )


@routes("PUT", "/1.0/storage-pools/{name}")
async def put(request: Request, wanted: PoolPut) -> None:
    await _put(request, wanted, merge=False)


@routes("PATCH", "/1.0/storage-pools/{name}")
async def patch(request: Request, wanted: PoolPut) -> None:
    await _put(request, wanted, merge=True)


@routes("DELETE", "/1.0/storage-pools/{name}")
async def delete(request: Request) -> None:
    await pools.delete(request.parts, request["name"])


@routes("GET", "/1.0/storage-pools/{name}/resources", gives=StoragePoolResources)
async def resources(request: Request) -> dict[str, Any]:
    return await pools.resources(request.parts, request["name"])


@routes("GET", "/1.0/storage-pools/{name}/volumes", gives=list[StorageVolume])
async def list_volumes(request: Request) -> Any:
    found = volumes.all_of(request.parts, request["name"], request.project)
    if not request.recursion:
        return [request.url("storage-pools", request["name"], "volumes", each["type"], each["name"]) for each in found]
    return request.matching(found)


@routes("GET", "/1.0/storage-pools/{name}/volumes/{type}", gives=list[StorageVolume])
async def list_type(request: Request) -> Any:
    found = [
        each
        for each in volumes.all_of(request.parts, request["name"], request.project)
        if each["type"] == request["type"]
    ]
    if not request.recursion:
        return [request.url("storage-pools", request["name"], "volumes", each["type"], each["name"]) for each in found]
    return request.matching(found)


@routes("GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}", gives=StorageVolume)
async def get_volume(request: Request) -> Tagged:
    return Tagged(volumes.one_of(request.parts, request["name"], request.project, request["type"], request["volume"]))


@routes("GET", "/1.0/storage-pools/{name}/volumes/{type}/{volume}/state", gives=StorageVolumeState)
async def volume_state(request: Request) -> dict[str, Any]:
    return await volumes.state(request.parts, request["name"], request.project, request["type"], request["volume"])
