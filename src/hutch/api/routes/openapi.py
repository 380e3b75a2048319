"""/1.0/openapi.json: this API, described for programs that generate clients."""

import asyncio
from functools import cache

from aiohttp import web

from hutch import registry
from hutch.access.callers import Permission
from hutch.api import openapi
from hutch.api.wire import Bare, Request, Routes
from hutch.schema.base import encode

routes = Routes(scoped=False, reads=Permission.TRUSTED)


@routes("GET", "/1.0/openapi.json", gives=Bare)
async def get(request: Request) -> web.Response:
    """The OpenAPI document, without an envelope."""
    return web.Response(body=await asyncio.to_thread(_text), content_type="application/json")


@cache
def _text() -> bytes:
    from hutch.api import routes as families

    return encode(openapi.document(module.routes for module in registry.modules(families)))
