"""Show what the daemon does, as it happens."""

import asyncio
import json
from typing import Any

from hutch import errors
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session

TYPES = ("lifecycle", "operation", "logging")
LEVELS = ("trace", "debug", "info", "warning", "error", "panic")


@command(
    arg("--type", action="append", choices=TYPES, help="only events of this type"),
    arg("-f", "--format", choices=("yaml", "json", "pretty"), default="yaml", help="how to show them"),
    arg("--pretty", action="store_const", const="pretty", dest="format", help="one readable line each"),
    arg("--loglevel", choices=LEVELS, default="debug", help="the least important log messages to show with --pretty"),
    arg("--all-projects", action="store_true", help="events of all projects"),
    example="""
    hutch monitor --type lifecycle --pretty
    hutch monitor --format json
    """,
)
def run(session: Session, options: Options) -> None:
    query: dict[str, str | int] = {"type": ",".join(options.type or TYPES)}
    if options.all_projects:
        query["all-projects"] = "true"
    asyncio.run(_follow(session, session.client.target("/1.0/events", query), options))


async def _follow(session: Session, path: str, options: Options) -> None:
    from hutch.client.websocket import is_closed, sockets

    async with sockets(session.client) as opener:
        async for message in await opener.open(path):
            if is_closed(message):
                break
            event = json.loads(message.data)
            if options.format != "pretty" or _is_shown(event, options.loglevel):
                print(_text(event, options.format), flush=True)
    raise errors.Unavailable("the daemon closed the stream of events")


def _is_shown(event: dict[str, Any], least: str) -> bool:
    level = (event.get("metadata") or {}).get("level")
    return level not in LEVELS or LEVELS.index(level) >= LEVELS.index(least)


def _text(event: dict[str, Any], form: str) -> str:
    if form == "json":
        return json.dumps(event, ensure_ascii=False)
    if form == "pretty":
        return pretty(event)
    from hutch.cli.yamltext import dump

    return dump(event)


def pretty(event: dict[str, Any]) -> str:
    """One line: the time, the kind, and what happened to what."""
    metadata = event.get("metadata") or {}
    at = str(event.get("timestamp", ""))[11:23].rstrip("Z")
    if event.get("type") == "lifecycle":
        who = (metadata.get("requestor") or {}).get("username") or ""
        what = f"{metadata.get('action')} {metadata.get('source')} {f'by {who}' if who else ''}".rstrip()
        return f"{at} lifecycle {what}"
    if event.get("type") == "operation":
        error = f": {metadata['err']}" if metadata.get("err") else ""
        return f"{at} operation {metadata.get('description')} {metadata.get('id')} {metadata.get('status')}{error}"
    context = " ".join(f"{key}={value}" for key, value in sorted((metadata.get("context") or {}).items()))
    return f"{at} {metadata.get('level', 'info')} {metadata.get('message')} {context}".rstrip()
