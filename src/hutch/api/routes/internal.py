"""/internal: what the daemon's own commands use, over the Unix socket only"""

from typing import Any

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes
from hutch.errors import Unavailable
from hutch.schema.storage import RecoverPost
from hutch.service import lifetime, recover

routes = Routes(scoped=False, reads=Permission.LOCAL, writes=Permission.LOCAL)


@routes("GET", "/internal/ready")
async def ready(request: Request) -> None:
    if not request.parts.lifetime.ready.is_set():
        raise Unavailable("the daemon is not ready yet")


@routes("PUT", "/internal/shutdown")
async def shutdown(request: Request) -> None:
    request.parts.tasks.spawn(lifetime.shut_down(request.parts), "shutdown")


@routes("POST", "/internal/recover/validate")
async def validate(request: Request, wanted: RecoverPost) -> dict[str, Any]:
    return await recover.look(request.parts, wanted.pools)


@routes("POST", "/internal/recover/import")
async def recover_all(request: Request, wanted: RecoverPost) -> None:
    await recover.recover(request.parts, wanted.pools)
