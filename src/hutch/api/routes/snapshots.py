"""/1.0/instances/{name}/snapshots"""

from datetime import datetime
from typing import Any

import msgspec

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes, Tagged
from hutch.schema.answers.instance import InstanceSnapshot
from hutch.schema.instance import SnapshotPost, SnapshotRecord
from hutch.schema.migration import MovePost
from hutch.service.instances import render, snapshot
from hutch.service.migration import source
from hutch.work.operations import Operation

routes = Routes(reads=Permission.PROJECT, writes=Permission.PROJECT)
ONE = "/1.0/instances/{name}/snapshots/{snapshot}"


class SnapshotPut(msgspec.Struct, kw_only=True):
    expires_at: datetime | None = None


def _editable(record: SnapshotRecord) -> dict[str, Any]:
    return {"expires_at": record.expires_at}


@routes("GET", "/1.0/instances/{name}/snapshots", gives=list[InstanceSnapshot])
async def list_all(request: Request) -> Any:
    request.parts.state.instances.get(request.project, request["name"])
    records = request.parts.state.snapshots.all(request.project, request["name"])
    return request.listing(
        records,
        render.snapshot_document,
        lambda record: request.url(request.collection, request["name"], "snapshots", record.name),
    )


@routes("POST", "/1.0/instances/{name}/snapshots")
async def post(request: Request, wanted: SnapshotPost) -> Operation:
    return snapshot.create(request.parts, request.project, request["name"], wanted)


def _record(request: Request) -> SnapshotRecord:
    return request.parts.state.snapshots.get(request.project, request["name"], request["snapshot"])


@routes("GET", ONE, gives=InstanceSnapshot)
async def get(request: Request) -> Tagged:
    record = _record(request)
    return Tagged(render.snapshot_document(record), _editable(record))


async def _set(request: Request, wanted: SnapshotPut) -> Operation:
    record = _record(request)
    request.match_etag(_editable(record))
    parts, project, name, kept = request.parts, request.project, record.instance, record.name

    async def work(operation: Operation) -> None:
        await snapshot.set_expiry(parts, project, name, kept, wanted.expires_at)

    return parts.operations.start(
        "Updating snapshot", work, project=project, resources=snapshot.resources(project, name, kept)
    )


@routes("PUT", ONE)
async def put(request: Request, wanted: SnapshotPut) -> Operation:
    return await _set(request, wanted)


@routes("PATCH", ONE)
async def patch(request: Request, wanted: SnapshotPut) -> Operation:
    return await _set(request, wanted)


@routes("POST", ONE)
async def rename(request: Request, wanted: MovePost) -> Operation:
    if wanted.migration:
        return source.start(request.parts, request.project, request["name"], wanted, request["snapshot"])
    return snapshot.rename(request.parts, request.project, request["name"], request["snapshot"], wanted.name)


@routes("DELETE", ONE)
async def delete(request: Request) -> Operation:
    return snapshot.delete(request.parts, request.project, request["name"], request["snapshot"])
