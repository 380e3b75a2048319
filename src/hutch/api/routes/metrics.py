"""/1.0/metrics: for Prometheus, also on an address of its own (core.metrics_address)."""

from aiohttp import web

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes, Text
from hutch.errors import Forbidden
from hutch.schema.keys import server as keys
from hutch.service import metrics, server

routes = Routes(scoped=False)


@routes(
    "GET",
    "/1.0/metrics",
    needs=Permission.EVERYBODY,
    gives=Text,
    query={"project": "The project whose metrics are wanted: those of all without it"},
)
async def get(request: Request) -> web.StreamResponse:
    projects = _projects(request)
    whole = projects is None
    text = await metrics.text(request.parts, projects, server=whole)
    return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _projects(request: Request) -> list[str] | None:
    """Those whose metrics are given: None for all, and with them the server's. Forbidden when the caller may have none."""
    wanted = request.query.get("project", "")
    if not keys.flag(server.settings(request.parts).config, "core.metrics_authentication"):
        return [wanted] if wanted else None
    request.admit(Permission.METRICS)
    if wanted and not request.caller.measures(wanted):
        raise Forbidden("Forbidden")
    only = request.caller.projects
    return [wanted] if wanted else None if only is None else sorted(only)
