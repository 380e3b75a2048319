"""/1.0/storage-pools"""

from typing import Any

from hutch.access.callers import Permission
from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.schema.answers.storage import StoragePool, StoragePoolResources
from hutch.schema.storage import PoolPut, PoolRecord
from hutch.service import pools

routes = Routes(reads=Permission.TRUSTED)


def _document(request: Request, record: PoolRecord) -> dict[str, Any]:
    """A restricted client is not told where on the host the pool is."""
    found = pools.document(request.parts, record)
    hidden = () if request.caller.is_admin else ("source", "volatile.initial_source")
    config = {key: value for key, value in record.config.items() if key not in hidden}
    return found | {"config": config, "used_by": request.seen(found["used_by"])}


@routes("GET", "/1.0/storage-pools", gives=list[StoragePool])
async def list_all(request: Request) -> Any:
    records = request.parts.state.pools.all()
    return request.listing(records, lambda record: _document(request, record), lambda record: pools.url(record.name))


@routes("POST", "/1.0/storage-pools")
async def post(request: Request, wanted: PoolPut) -> Created:
    record = await pools.create(request.parts, wanted)
    return Created(pools.url(record.name))


@routes("GET", "/1.0/storage-pools/{name}", gives=StoragePool)
async def get(request: Request) -> Tagged:
    record = request.parts.state.pools.get(request["name"])
    return Tagged(_document(request, record), pools.editable(record))


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
