"""/1.0/images/aliases: names may hold slashes, escaped or not."""

from typing import Any

from hutch.access.callers import Permission
from hutch.api.wire import Created, Request, Routes, Tagged
from hutch.errors import NotFound
from hutch.schema.answers.image import ImageAlias
from hutch.schema.image import AliasPost
from hutch.service import image_aliases, images

routes = Routes(reads=Permission.PROJECT, writes=Permission.IMAGES)
PATH = "/1.0/images/aliases/{name:.+}"


@routes("GET", "/1.0/images/aliases", gives=list[ImageAlias])
async def list_all(request: Request) -> Any:
    records = image_aliases.every(request.parts, request.project)
    return request.listing(
        records, image_aliases.document, lambda record: image_aliases.url(request.project, record.name)
    )


@routes("POST", "/1.0/images/aliases")
async def post(request: Request, wanted: AliasPost) -> Created:
    record = await image_aliases.create(request.parts, request.project, wanted)
    return Created(image_aliases.url(request.project, record.name))


@routes("GET", PATH, needs=Permission.EVERYBODY, gives=ImageAlias)
async def get(request: Request) -> Tagged:
    record = image_aliases.get(request.parts, request.project, request["name"])
    if (
        not request.caller.sees(request.project)
        and not images.find(request.parts, request.project, record.target).public
    ):
        raise NotFound("Image alias not found")
    return Tagged(image_aliases.document(record), image_aliases.editable(record))


async def _put(request: Request, wanted: AliasPost, *, merge: bool) -> None:
    await image_aliases.put(
        request.parts,
        request.project,
        request["name"],
        wanted,
        lambda record: request.match_etag(image_aliases.editable(record)),
        merge=merge,
    )


@routes("PUT", PATH)
async def put(request: Request, wanted: AliasPost) -> None:
    await _put(request, wanted, merge=False)


@routes("PATCH", PATH)
async def patch(request: Request, wanted: AliasPost) -> None:
    await _put(request, wanted, merge=True)


@routes("POST", PATH)
async def rename(request: Request, wanted: AliasPost) -> Created:
    record = await image_aliases.rename(request.parts, request.project, request["name"], wanted.name)
    return Created(image_aliases.url(request.project, record.name))


@routes("DELETE", PATH)
async def delete(request: Request) -> None:
    await image_aliases.delete(request.parts, request.project, request["name"])
