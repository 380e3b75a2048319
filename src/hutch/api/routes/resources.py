"""/1.0/resources"""

import asyncio
import os
from typing import Any

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes
from hutch.kernel import interfaces
from hutch.schema.answers.resources import Resources
from hutch.service import resources

routes = Routes(scoped=False, reads=Permission.TRUSTED)


@routes("GET", "/1.0/resources", gives=Resources)
async def get(request: Request) -> dict[str, Any]:
    return await asyncio.to_thread(resources.document, await interfaces.of(os.getpid()))
