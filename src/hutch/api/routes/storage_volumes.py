"""/1.0/storage-pools/{name}/volumes"""

from typing import Any

from hutch.access.callers import Permission
from hutch.access.projects import Kind
from hutch.api import backups
from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.errors import Invalid
from hutch.schema.answers.storage import StorageVolume, StorageVolumeState
from hutch.schema.storage import VolumeMove, VolumePost, VolumePut, VolumeRecord
from hutch.service.volumes import create, move, render, update
from hutch.work.operations import Operation

routes = Routes(reads=Permission.PROJECT, writes=Permission.VOLUMES)
ALL = "/1.0/storage-pools/{name}/volumes"
TYPE = "/1.0/storage-pools/{name}/volumes/{type}"
ONE = "/1.0/storage-pools/{name}/volumes/{type}/{volume}"


def custom(request: Request) -> None:
    """Invalid unless the path names the type custom."""
    if request["type"] != "custom":
        raise Invalid(
            f"Volumes of type {request['type']!r} are changed through what they belong to: only custom volumes can be "
            "changed here"
        )


def record(request: Request) -> VolumeRecord:
    """The custom volume that the path names."""
    custom(request)
    place = request.home(Kind.VOLUMES)
    return request.parts.state.volumes.get(request["name"], place, request["volume"])


def _narrowed(request: Request, document: dict[str, Any]) -> dict[str, Any]:
    return document | {"used_by": request.seen(document["used_by"])}


def _is_listed(request: Request, document: dict[str, Any]) -> bool:
    return not request.all_projects or request.caller.sees(document["project"])


def _listing(request: Request, kind: str) -> Any:
    project = None if request.all_projects else request.project
    listed = render.all_of(request.parts, request["name"], project, kind)
    found = request.matching([_narrowed(request, each) for each in listed if _is_listed(request, each)])
    if request.recursion:
        return found
    return [render.url(request["name"], each["project"], each["type"], each["name"]) for each in found]


@routes("GET", ALL, needs=Permission.LIST, gives=list[StorageVolume])
async def list_all(request: Request) -> Any:
    return _listing(request, "")


@routes("GET", TYPE, needs=Permission.LIST, gives=list[StorageVolume])
async def list_type(request: Request) -> Any:
    return _listing(request, request["type"])


async def _create(request: Request) -> Operation | Created:
    if request.is_file:
        return await backups.receive_volume(request, request["name"], request.home(Kind.VOLUMES))
    wanted = await request.read(VolumePost)
    request.caller.check(wanted.source.project)
    made = await create.create(request.parts, request["name"], request.project, wanted)
    if isinstance(made, Operation):
        return made
    return Created(render.url(made.pool, made.project, "custom", made.name))


@routes("POST", ALL, takes=(VolumePost, bytes))
async def post(request: Request) -> Operation | Created:
    return await _create(request)


@routes("POST", TYPE, takes=(VolumePost, bytes))
async def post_type(request: Request) -> Operation | Created:
    custom(request)
    return await _create(request)


@routes("GET", ONE, gives=StorageVolume)
async def get(request: Request) -> Tagged:
    if request["type"] != "custom":
        return Tagged(
            render.one_of(request.parts, request["name"], request.project, request["type"], request["volume"])
        )
    found = record(request)
    return Tagged(_narrowed(request, render.document(request.parts, found)), render.editable(found))


@routes("POST", ONE)
async def rename(request: Request, wanted: VolumeMove) -> Operation | Created:
    custom(request)
    request.admit(Permission.VOLUMES, wanted.project)
    moved = await move.move(request.parts, request["name"], request.project, request["volume"], wanted)
    if isinstance(moved, Operation):
        return moved
    return Created(render.url(moved.pool, moved.project, "custom", moved.name))


async def _put(request: Request, wanted: VolumePut, *, merge: bool) -> None:
    custom(request)
    await update.put(
        request.parts,
        request["name"],
        request.project,
        request["volume"],
        wanted,
        lambda found: request.match_etag(render.editable(found)),
        merge=merge,
    )


@routes("PUT", ONE)
async def put(request: Request, wanted: VolumePut) -> None:
    await _put(request, wanted, merge=False)


@routes("PATCH", ONE)
async def patch(request: Request, wanted: VolumePut) -> None:
    await _put(request, wanted, merge=True)


@routes("DELETE", ONE)
async def delete(request: Request) -> None:
    custom(request)
    await update.delete(request.parts, request["name"], request.project, request["volume"])


@routes("GET", f"{ONE}/state", gives=StorageVolumeState)
async def state(request: Request) -> dict[str, Any]:
    return await render.state(request.parts, request["name"], request.project, request["type"], request["volume"])
