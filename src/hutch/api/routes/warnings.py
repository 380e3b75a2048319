"""/1.0/warnings"""

from typing import Any

from hutch.api.wire import Request, Routes, Tagged
from hutch.schema.answers.warning import Warning
from hutch.schema.warning import WarningPut, WarningRecord
from hutch.service import warnings

routes = Routes(scoped=False)
PATH = "/1.0/warnings/{uuid}"
_QUERY = {"project": "Only those of this project"}


def _record(request: Request) -> WarningRecord:
    return request.parts.state.warnings.get(request["uuid"])


@routes("GET", "/1.0/warnings", gives=list[Warning], query=_QUERY)
async def list_all(request: Request) -> Any:
    records = warnings.of_project(request.parts, request.query.get("project", ""))
    return request.listing(records, warnings.document, warnings.url)


@routes("GET", PATH, gives=Warning)
async def get(request: Request) -> Tagged:
    record = _record(request)
    return Tagged(warnings.document(record), warnings.editable(record))


@routes("PUT", PATH)
async def put(request: Request, wanted: WarningPut) -> None:
    """Acknowledge it, or make it new again."""
    record = _record(request)
    request.match_etag(warnings.editable(record))
    await warnings.put(request.parts, record, wanted)


@routes("PATCH", PATH)
async def patch(request: Request, wanted: WarningPut) -> None:
    """Acknowledge it, or make it new again."""
    await put(request, wanted)


@routes("DELETE", PATH)
async def delete(request: Request) -> None:
    await warnings.delete(request.parts, _record(request))
