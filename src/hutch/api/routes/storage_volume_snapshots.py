"""/1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots"""

from typing import Any

from hutch.access.callers import Permission
from hutch.api.routes.storage_volumes import ONE as VOLUME
from hutch.api.routes.storage_volumes import record as volume
from hutch.api.wire import Request, Routes, Tagged
from hutch.schema.answers.storage import StorageVolumeSnapshot
from hutch.schema.storage import VolumeMove, VolumeSnapshotPost, VolumeSnapshotPut, VolumeSnapshotRecord
from hutch.service.volumes import render, snapshots
from hutch.work.operations import Operation

routes = Routes(reads=Permission.PROJECT, writes=Permission.VOLUMES)
ALL = f"{VOLUME}/snapshots"
ONE = f"{VOLUME}/snapshots/{{snapshot}}"


@routes("GET", ALL, gives=list[StorageVolumeSnapshot])
async def list_all(request: Request) -> Any:
    found = snapshots.of(request.parts, volume(request))
    if request.recursion:
        return [render.snapshot_document(each, f"{each.volume}/{each.name}") for each in found]
    return [render.url(each.pool, each.project, "custom", f"{each.volume}/{each.name}") for each in found]


@routes("POST", ALL)
async def post(request: Request, wanted: VolumeSnapshotPost) -> Operation:
    return snapshots.create(request.parts, volume(request), wanted)


def _record(request: Request) -> VolumeSnapshotRecord:
    volume(request)
    return snapshots.get(request.parts, request["name"], request.project, request["volume"], request["snapshot"])


@routes("GET", ONE, gives=StorageVolumeSnapshot)
async def get(request: Request) -> Tagged:
    found = _record(request)
    return Tagged(render.snapshot_document(found), render.snapshot_editable(found))


async def _change(request: Request, wanted: VolumeSnapshotPut, *, merge: bool) -> None:
    found = _record(request)
    request.match_etag(render.snapshot_editable(found))
    description = wanted.description if merge else wanted.description or ""
    await snapshots.change(request.parts, found, description, wanted.expires_at)


@routes("PUT", ONE)
async def put(request: Request, wanted: VolumeSnapshotPut) -> None:
    await _change(request, wanted, merge=False)


@routes("PATCH", ONE)
async def patch(request: Request, wanted: VolumeSnapshotPut) -> None:
    await _change(request, wanted, merge=True)


@routes("POST", ONE)
async def rename(request: Request, wanted: VolumeMove) -> Operation:
    return snapshots.rename(request.parts, _record(request), wanted.name)


@routes("DELETE", ONE)
async def delete(request: Request) -> Operation:
    return snapshots.delete(request.parts, _record(request))
