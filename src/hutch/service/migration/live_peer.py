"""The target's way to the source of a move when the websockets between them are gone."""

from typing import Any
from urllib.parse import urlencode

import aiohttp

from hutch.errors import Forbidden, HutchError, NotFound, Unavailable
from hutch.schema.base import encode
from hutch.schema.move import MoveRecord, MoveReport
from hutch.service.migration import connect
from hutch.service.parts import Parts

_TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)


async def ask(parts: Parts, note: MoveRecord, said: MoveReport | None = None) -> dict[str, Any]:
    """What the source knows of the move, or with `said` its having heard that. NotFound when it knows of none.

    Raises Unavailable when it does not answer.
    """
    base, connector = await connect.way(parts, note.peer, note.certificate)
    server = base.partition("/1.0/operations/")[0]
    url = f"{server}/internal/moves/{note.id}?{urlencode({'secret': note.secret})}"
    method, body = ("GET", None) if said is None else ("POST", encode(said))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session,
            session.request(method, url, data=body, headers={"Content-Type": "application/json"}) as answer,
        ):
            document = await answer.json(content_type=None)
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise Unavailable(f"no answer from {server}: {error}") from error
    if status == NotFound.status and document.get("error") == "Move not found":
        raise NotFound("Move not found")
    if status != 200:
        kind = Forbidden if status == Forbidden.status else HutchError
        raise kind(f"{server} says: {document.get('error') or status}")
    return dict(document.get("metadata") or {})
