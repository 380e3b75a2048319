"""/1.0/metadata/configuration: every config key there is, for programs that show forms or check values."""

import asyncio
from functools import cache
from typing import Any

from hutch.access.callers import Permission
from hutch.api.wire import Rendered, Request, Routes
from hutch.schema.base import encode
from hutch.service import catalogue

routes = Routes(scoped=False, reads=Permission.TRUSTED)


@routes("GET", "/1.0/metadata/configuration", gives=dict[str, Any])
async def get(request: Request) -> Rendered:
    return Rendered(await asyncio.to_thread(_text))


@cache
def _text() -> bytes:
    return encode(catalogue.document())
