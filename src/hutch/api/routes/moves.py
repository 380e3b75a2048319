"""/internal/moves: what the target of a moved guest asks and tells its source once the websockets between them are gone"""

from typing import Any

from hutch.access.callers import Permission
from hutch.api.wire import Request, Routes
from hutch.schema.move import MoveReport
from hutch.service.migration import live_moves

routes = Routes(scoped=False)
PATH = "/internal/moves/{id}"
_QUERY = {"secret": "What both servers were told when the move began"}


@routes("GET", PATH, needs=Permission.EVERYBODY, query=_QUERY)
async def get(request: Request) -> dict[str, Any]:
    note = live_moves.find(request.parts, request["id"], request.query.get("secret", ""))
    return {"decision": live_moves.decision(note)}


@routes("POST", PATH, needs=Permission.EVERYBODY, query=_QUERY)
async def post(request: Request, said: MoveReport) -> None:
    note = live_moves.find(request.parts, request["id"], request.query.get("secret", ""))
    await live_moves.report(request.parts, note, said)
