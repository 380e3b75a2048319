"""/1.0/instances/{name}/metadata and its templates"""

from typing import Any

from aiohttp import web

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes, Tagged
from hutch.errors import Invalid
from hutch.schema.answers.instance import ImageMetadata
from hutch.schema.base import convert
from hutch.service.instances import metadata
from hutch.service.instances.metadata import MetadataPut

routes = Routes(reads=Permission.PROJECT, writes=Permission.PROJECT)
PATH = "/1.0/instances/{name}/metadata"
_QUERY = {"path": "The name of a template"}


@routes("GET", PATH, gives=ImageMetadata)
async def get(request: Request) -> Tagged:
    return Tagged(await metadata.get(request.parts, request.project, request["name"]))


@routes("PUT", PATH)
async def put(request: Request, wanted: MetadataPut) -> None:
    request.match_etag(await metadata.get(request.parts, request.project, request["name"]))
    await metadata.put(request.parts, request.project, request["name"], wanted)


@routes("PATCH", PATH)
async def patch(request: Request, wanted: dict[str, Any]) -> None:
    current = await metadata.get(request.parts, request.project, request["name"])
    request.match_etag(current)
    merged = current | wanted | {"properties": current["properties"] | (wanted.get("properties") or {})}
    await metadata.put(request.parts, request.project, request["name"], convert(merged, MetadataPut))


@routes("GET", f"{PATH}/templates", gives=(list[str], bytes), query=_QUERY)
async def get_templates(request: Request) -> Any:
    parts, project, name = request.parts, request.project, request["name"]
    if not (template := request.query.get("path", "")):
        return await metadata.template_names(parts, project, name)
    content = await metadata.read_template(parts, project, name, template)
    return web.Response(body=content, content_type="application/octet-stream")


def _template(request: Request) -> str:
    if not (template := request.query.get("path", "")):
        raise Invalid("missing path argument: the name of a template is expected")
    return template


@routes("POST", f"{PATH}/templates", takes=bytes, query=_QUERY)
async def post_template(request: Request) -> None:
    content = await request.http.read()
    await metadata.write_template(request.parts, request.project, request["name"], _template(request), content)


@routes("DELETE", f"{PATH}/templates", query=_QUERY)
async def delete_template(request: Request) -> None:
    await metadata.delete_template(request.parts, request.project, request["name"], _template(request))
