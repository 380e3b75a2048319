"""/internal: what the daemon's own commands use, over the Unix socket only"""

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes
from hutch.errors import Unavailable
from hutch.service import lifetime

routes = Routes(scoped=False, reads=Permission.LOCAL, writes=Permission.LOCAL)


@routes("GET", "/internal/ready")
async def ready(request: Request) -> None:
    if not request.parts.lifetime.ready.is_set():
        raise Unavailable("the daemon is not ready yet")


@routes("PUT", "/internal/shutdown")
async def shutdown(request: Request) -> None:
    request.parts.tasks.spawn(lifetime.shut_down(request.parts), "shutdown")
