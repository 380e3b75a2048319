"""/1.0/instances/{name}/backups, and the same of custom volumes"""

import asyncio
from typing import Any

from aiohttp import web

from hutch.access.callers import Permission
from hutch.access.projects import Kind
from hutch.api import backups
from hutch.api.routes.storage_volumes import ONE as VOLUME
from hutch.api.routes.storage_volumes import custom
from hutch.api.wire import Request, Routes, Tagged
from hutch.image.formats import recognise_file
from hutch.schema.answers.instance import InstanceBackup
from hutch.schema.answers.storage import StorageVolumeBackup
from hutch.schema.backup import BackupPost, BackupRename
from hutch.service.backups import keep
from hutch.service.backups.keep import Owner
from hutch.work.operations import Operation

routes = Routes(reads=Permission.PROJECT, writes=Permission.PROJECT)
INSTANCE = "/1.0/instances/{name}"


def _owner(request: Request) -> Owner:
    if "volume" not in request.http.match_info:
        return Owner("container", request.project, request["name"])
    custom(request)
    return Owner("custom", request.home(Kind.VOLUMES), request["volume"], request["name"])


async def list_all(request: Request) -> Any:
    owner = _owner(request)
    found = keep.of(request.parts, owner)
    return [keep.document(each) for each in found] if request.recursion else [owner.url(each.name) for each in found]


async def post(request: Request, wanted: BackupPost) -> Operation | web.StreamResponse:
    owner = _owner(request)
    if "application/octet-stream" in request.http.headers.get("Accept", ""):
        return await backups.send(request, owner, wanted)
    return keep.create(request.parts, owner, wanted)


async def get(request: Request) -> Tagged:
    return Tagged(keep.document(keep.get(request.parts, _owner(request), request["backup"])))


async def rename(request: Request, wanted: BackupRename) -> Operation:
    return keep.rename(request.parts, _owner(request), request["backup"], wanted.name)


async def delete(request: Request) -> Operation:
    return keep.delete(request.parts, _owner(request), request["backup"])


async def export(request: Request) -> web.StreamResponse:
    owner = _owner(request)
    path = keep.file(request.parts, keep.get(request.parts, owner, request["backup"]))
    compression = await asyncio.to_thread(recognise_file, path)
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment;filename={owner.name}{compression.suffix}",
    }
    kind = "instance" if owner.kind == "container" else "storage-volume"
    request.parts.events.lifecycle(f"{kind}-backup-retrieved", owner.url(request["backup"]), owner.project)
    return web.FileResponse(path, chunk_size=1 << 20, headers=headers)


for place, shown in ((INSTANCE, InstanceBackup), (VOLUME, StorageVolumeBackup)):
    one = f"{place}/backups/{{backup}}"
    writes = Permission.PROJECT if place == INSTANCE else Permission.VOLUMES
    routes("GET", f"{place}/backups", gives=list[shown])(list_all)  # type: ignore[valid-type]
    routes("POST", f"{place}/backups", needs=writes)(post)
    routes("GET", one, gives=shown)(get)
    routes("POST", one, needs=writes)(rename)
    routes("DELETE", one, needs=writes)(delete)
    routes("GET", f"{one}/export")(export)
