"""/1.0/network-zones"""

from typing import Any

from hutch.access.callers import Permission
from hutch.access.projects import Kind
from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.schema.answers.zone import Zone
from hutch.schema.answers.zone import ZoneRecord as Shown
from hutch.schema.zone import DnsRecordPut, ZonePut, ZoneRecord
from hutch.service import zones

routes = Routes(reads=Permission.PROJECT, writes=Permission.ZONES)


def _place(request: Request) -> str:
    return request.home(Kind.ZONES)


def _document(request: Request, record: ZoneRecord) -> dict[str, Any]:
    found = zones.document(request.parts, record)
    return found | {"used_by": request.seen(found["used_by"])}


@routes("GET", "/1.0/network-zones", gives=list[Zone])
async def list_all(request: Request) -> Any:
    return request.listing(
        request.parts.state.zones.all(_place(request)),
        lambda record: _document(request, record),
        lambda record: zones.url(record.project, record.name),
    )


@routes("POST", "/1.0/network-zones")
async def post(request: Request, wanted: ZonePut) -> Created:
    record = await zones.create(request.parts, _place(request), wanted)
    return Created(zones.url(_place(request), record.name))


@routes("GET", "/1.0/network-zones/{name}", gives=Zone)
async def get(request: Request) -> Tagged:
    record = request.parts.state.zones.get(_place(request), request["name"])
    return Tagged(_document(request, record), zones.editable(record))


async def _put(request: Request, wanted: ZonePut, *, merge: bool) -> None:
    await zones.put(
        request.parts,
        _place(request),
        request["name"],
        wanted,
        lambda record: request.match_etag(zones.editable(record)),
        merge=merge,
    )


@routes("PUT", "/1.0/network-zones/{name}")
async def put(request: Request, wanted: ZonePut) -> None:
    await _put(request, wanted, merge=False)


@routes("PATCH", "/1.0/network-zones/{name}")
async def patch(request: Request, wanted: ZonePut) -> None:
    await _put(request, wanted, merge=True)


@routes("DELETE", "/1.0/network-zones/{name}")
async def delete(request: Request) -> None:
    await zones.delete(request.parts, _place(request), request["name"])


@routes("GET", "/1.0/network-zones/{zone}/records", gives=list[Shown])
async def records(request: Request) -> Any:
    place = _place(request)
    request.parts.state.zones.get(place, request["zone"])
    return request.listing(
        request.parts.state.zone_records.all(place, request["zone"]),
        zones.entry_document,
        lambda record: zones.url(place, record.zone, "records", record.name),
    )


@routes("POST", "/1.0/network-zones/{zone}/records")
async def post_record(request: Request, wanted: DnsRecordPut) -> Created:
    record = await zones.create_record(request.parts, _place(request), request["zone"], wanted)
    return Created(zones.url(_place(request), record.zone, "records", record.name))


@routes("GET", "/1.0/network-zones/{zone}/records/{name}", gives=Shown)
async def get_record(request: Request) -> Tagged:
    document = zones.entry_document(
        request.parts.state.zone_records.get(_place(request), request["zone"], request["name"])
    )
    return Tagged(document, document)


async def _put_record(request: Request, wanted: DnsRecordPut, *, merge: bool) -> None:
    await zones.put_record(
        request.parts,
        _place(request),
        request["zone"],
        request["name"],
        wanted,
        lambda record: request.match_etag(zones.entry_document(record)),
        merge=merge,
    )


@routes("PUT", "/1.0/network-zones/{zone}/records/{name}")
async def put_record(request: Request, wanted: DnsRecordPut) -> None:
    await _put_record(request, wanted, merge=False)


@routes("PATCH", "/1.0/network-zones/{zone}/records/{name}")
async def patch_record(request: Request, wanted: DnsRecordPut) -> None:
    await _put_record(request, wanted, merge=True)


@routes("DELETE", "/1.0/network-zones/{zone}/records/{name}")
async def delete_record(request: Request) -> None:
    await zones.delete_record(request.parts, _place(request), request["zone"], request["name"])
