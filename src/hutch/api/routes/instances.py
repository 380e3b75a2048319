"""/1.0/instances, /1.0/instances/{name} and their state"""

import asyncio
from typing import Any

import msgspec

from hutch.access.callers import Permission
from hutch.api import backups
from hutch.api.wire import Rendered, Request, Routes, Tagged
from hutch.schema.answers.instance import Instance, InstanceFull, InstanceState
from hutch.schema.instance import InstancePost, InstancePut, InstanceRecord, StatePut
from hutch.schema.migration import MovePost
from hutch.service import allow
from hutch.service.instances import bulk, create, delete, move, power, rename, render, snapshot, update
from hutch.service.migration import source
from hutch.work.operations import Operation

routes = Routes(reads=Permission.PROJECT, writes=Permission.PROJECT)


def _records(request: Request) -> list[InstanceRecord]:
    found = request.parts.state.instances.all(*([] if request.all_projects else [request.project]))
    if request.collection == "virtual-machines":
        return []
    return [record for record in found if request.sees(record.project)]


@routes("GET", "/1.0/instances", needs=Permission.LIST, gives=(list[Instance], list[InstanceFull]))
async def list_all(request: Request) -> Any:
    records = _records(request)
    if request.query.get("filter"):
        wanted = {
            (each["project"], each["name"])
            for each in request.matching([render.document(request.parts, record) for record in records])
        }
        records = [record for record in records if (record.project, record.name) in wanted]
    if not request.recursion:
        return [request.url(request.collection, record.name, project=record.project) for record in records]
    if request.recursion == 1:
        return Rendered(b"[" + b",".join(render.text(request.parts, record) for record in records) + b"]")
    fields = request.state_fields
    texts = await asyncio.gather(*(render.full_text(request.parts, record, fields=fields) for record in records))
    return Rendered(b"[" + b",".join(texts) + b"]")


@routes("POST", "/1.0/instances", takes=(InstancePost, bytes))
async def post(request: Request) -> Operation:
    if request.is_file:
        return await backups.receive_instance(request)
    wanted = await request.read(InstancePost)
    if not wanted.source.server:
        request.caller.check(wanted.source.project)
    if request.query.get("target"):
        allow.target(request.parts, request.project)
    return await create.create(request.parts, request.project, wanted)


@routes("PUT", "/1.0/instances")
async def put_all(request: Request, wanted: bulk.BulkPut) -> Operation:
    return bulk.change(request.parts, request.project, wanted.state)


@routes(
    "GET", "/1.0/instances/{name}", gives=(Instance, InstanceFull), query={"recursion": "1: with state and snapshots"}
)
async def get(request: Request) -> Tagged:
    record = request.parts.state.instances.get(request.project, request["name"])
    if request.recursion:
        return Tagged(
            msgspec.Raw(await render.full_text(request.parts, record, usage=True, fields=request.state_fields)),
            render.editable(record),
        )
    return Tagged(msgspec.Raw(render.text(request.parts, record)), render.editable(record))


def _same(request: Request, record: InstanceRecord) -> None:
    request.match_etag(render.editable(record))


@routes("PUT", "/1.0/instances/{name}")
async def put(request: Request, wanted: InstancePut) -> Operation:
    parts, project, name = request.parts, request.project, request["name"]
    record = parts.state.instances.get(project, name)
    _same(request, record)
    if wanted.restore:
        kept = wanted.restore.rpartition("/")[2]
        parts.state.snapshots.get(project, name, kept)

        async def work(operation: Operation) -> None:
            await snapshot.restore(parts, project, name, kept, with_memory=bool(wanted.stateful))

        description = "Restoring snapshot"
    else:

        async def work(operation: Operation) -> None:
            await update.put(parts, project, name, wanted, lambda _: None)

        update.check_now(parts, record, wanted)
        description = "Updating instance"
    return parts.operations.start(description, work, project=project, resources=render.resources(project, name))


@routes("PATCH", "/1.0/instances/{name}")
async def patch(request: Request, wanted: InstancePut) -> None:
    await update.patch(request.parts, request.project, request["name"], wanted, lambda record: _same(request, record))


@routes("POST", "/1.0/instances/{name}")
async def post_one(request: Request, wanted: MovePost) -> Operation:
    request.caller.check(wanted.project)
    if wanted.pool or wanted.project:
        return move.start(request.parts, request.project, request["name"], wanted)
    if wanted.migration:
        return source.start(request.parts, request.project, request["name"], wanted)
    return rename.rename(request.parts, request.project, request["name"], wanted.name)


@routes("DELETE", "/1.0/instances/{name}")
async def delete_one(request: Request) -> Operation:
    return delete.delete(request.parts, request.project, request["name"])


@routes("GET", "/1.0/instances/{name}/state", gives=InstanceState)
async def get_state(request: Request) -> Tagged:
    record = request.parts.state.instances.get(request.project, request["name"])
    return Tagged(await render.state(request.parts, record), [])


@routes("PUT", "/1.0/instances/{name}/state")
async def put_state(request: Request, wanted: StatePut) -> Operation:
    return power.change(request.parts, request.project, request["name"], wanted)
