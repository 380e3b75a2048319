"""/1.0/images"""

import asyncio
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from hutch.access.callers import Permission
from hutch.api.images import export, upload
from hutch.api.wire import Request, Routes, Tagged
from hutch.errors import NotFound
from hutch.schema.answers.image import Image
from hutch.schema.image import ImageExportPost, ImagePost, ImagePut, ImageRecord
from hutch.service import image_fetch, image_import, image_push, images, publish
from hutch.work.operations import Operation

routes = Routes(reads=Permission.EVERYBODY, writes=Permission.IMAGES)
PATH = "/1.0/images/{fingerprint}"
_SECRET = {"secret": "What shows an image that is not public to a caller without trust"}


def _find(request: Request) -> ImageRecord:
    """The image of the path, if the caller may know of it: others than public ones need trust or a secret."""
    record = images.find(request.parts, request.project, request["fingerprint"])
    if request.caller.sees(request.project) or record.public:
        return record
    if images.is_secret(request.parts, record, request.query.get("secret", "")):
        return record
    raise NotFound("Image not found")


@routes("GET", "/1.0/images", gives=list[Image])
async def list_all(request: Request) -> Any:
    places = [] if request.all_projects else [images.home(request.parts, request.project)]
    records = [each for each in request.parts.state.images.all(*places) if each.public or _is_seen(request, each)]
    if not request.recursion and not request.query.get("filter"):
        return [images.url(_shown(request, each), each.fingerprint) for each in records]
    documents = request.matching([images.document(request.parts, each) for each in records])
    if request.recursion:
        return documents
    return [images.url(request.project, document["fingerprint"]) for document in documents]


def _is_seen(request: Request, record: ImageRecord) -> bool:
    return request.caller.sees(record.project if request.all_projects else request.project)


def _shown(request: Request, record: ImageRecord) -> str:
    return record.project if request.all_projects else request.project


@routes("POST", "/1.0/images", takes=(ImagePost, bytes), needs=Permission.EVERYBODY)
async def post(request: Request) -> Operation:
    """A secret that was made for the image lets in whoever brings it."""
    if secret := request.header("secret"):
        fingerprint = request.header("fingerprint") or ""
        promised = image_push.redeem(request.parts, request.project, fingerprint, secret)
        return await upload.receive(request, b"", promised, {"secret": secret})
    request.admit(Permission.IMAGES)
    wanted = await upload.wish(request)
    return await upload.receive(request, wanted) if isinstance(wanted, bytes) else _create(request, wanted)


def _create(request: Request, wanted: ImagePost) -> Operation:
    kind = wanted.source.type
    if not wanted.source.server:
        request.caller.check(wanted.source.project)
    if kind in ("instance", "container", "virtual-machine", "snapshot"):
        return publish.publish(request.parts, request.project, wanted)
    if kind in ("image", "") and wanted.source.mode == "push" and not wanted.source.server:
        return image_push.promise(request.parts, request.project, wanted)
    if kind == "image" and wanted.source.server:
        return image_fetch.fetch(request.parts, request.project, wanted)
    if kind == "image":
        return image_import.copy(request.parts, request.project, wanted)
    if kind == "url":
        wanted.source = replace(wanted.source, server=wanted.source.url, alias=wanted.source.url, protocol="direct")
        return image_fetch.fetch(request.parts, request.project, wanted)
    raise image_import.refuse(kind)


@routes("GET", PATH, gives=Image, query=_SECRET)
async def get(request: Request) -> Tagged:
    record = _find(request)
    return Tagged(images.document(request.parts, record), images.editable(record))


async def _put(request: Request, wanted: ImagePut, *, merge: bool) -> None:
    await images.put(
        request.parts,
        _find(request),
        wanted,
        lambda record: request.match_etag(images.editable(record)),
        merge=merge,
    )


@routes("PUT", PATH)
async def put(request: Request, wanted: ImagePut) -> None:
    await _put(request, wanted, merge=False)


@routes("PATCH", PATH)
async def patch(request: Request, wanted: ImagePut) -> None:
    await _put(request, wanted, merge=True)


@routes("DELETE", PATH)
async def delete(request: Request) -> Operation:
    return images.delete(request.parts, _find(request))


@routes("GET", f"{PATH}/export", query=_SECRET)
async def get_export(request: Request) -> web.StreamResponse:
    record = _find(request)
    files = images.files(request.parts)
    sources = await asyncio.to_thread(files.files, record.fingerprint)
    if not await asyncio.to_thread(sources[0].exists):
        raise images.file_error(record)
    source = images.url(record.project, record.fingerprint)
    request.parts.events.lifecycle("image-retrieved", source, record.project)
    return await export.files(request.http, sources, record.fingerprint)


@routes("POST", f"{PATH}/export")
async def push(request: Request, wanted: ImageExportPost) -> Operation:
    return image_push.push(request.parts, _find(request), wanted)


@routes("POST", f"{PATH}/secret")
async def secret(request: Request) -> Operation:
    return images.secret(request.parts, _find(request))


@routes("POST", f"{PATH}/refresh")
async def refresh(request: Request) -> Operation:
    return image_fetch.refresh(request.parts, _find(request))
