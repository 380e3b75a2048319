"""Forwards events to a Loki server: its push API, in batches; what cannot be delivered for long is dropped, not hoarded."""

import asyncio
import logging
import platform
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hutch.schema.base import Config, encode
from hutch.schema.keys import server as keys
from hutch.service import server
from hutch.service.parts import Parts
from hutch.work.events import Subscription

log = logging.getLogger(__name__)
Event = Mapping[str, Any]

_BATCH, _GATHER = 500, 1.0
_ATTEMPTS, _PAUSE = 6, 0.5
_TIMEOUT = 10.0
_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class Target:
    """Where events go, and which of them: `labels` are members of their context that become labels."""

    url: str
    authority: str
    user: str
    password: str
    instance: str
    types: tuple[str, ...]
    level: int
    labels: tuple[str, ...]


def target(config: Config) -> Target | None:
    """What the settings ask for; None when nothing is forwarded."""
    if not config.get("loki.api.url"):
        return None

    def value(key: str) -> str:
        return config.get(key) or keys.KEYS[key].default

    return Target(
        url=value("loki.api.url").rstrip("/") + "/loki/api/v1/push",
        authority=value("loki.api.ca_cert"),
        user=value("loki.auth.username"),
        password=value("loki.auth.password"),
        instance=config.get("loki.instance") or platform.node(),
        types=tuple(keys.words(value("loki.types"))),
        level=_LEVELS.index(value("loki.loglevel")),
        labels=tuple(keys.words(value("loki.labels"))),
    )


async def run(parts: Parts) -> None:
    """Forward while the settings say where to, until the daemon ends."""
    changes = parts.events.subscribe(["lifecycle"], None)
    try:
        while True:
            async with asyncio.TaskGroup() as group:
                wanted = target(server.settings(parts).config)
                work = group.create_task(_forward(parts, wanted)) if wanted else None
                while wanted == target(server.settings(parts).config):
                    if await changes.get() is None:
                        return
                if work is not None:
                    work.cancel()
    finally:
        parts.events.unsubscribe(changes)


async def _forward(parts: Parts, wanted: Target) -> None:
    from aiohttp import BasicAuth, ClientSession, ClientTimeout, TCPConnector

    context = ssl.create_default_context(cadata=wanted.authority or None)
    auth = BasicAuth(wanted.user, wanted.password) if wanted.user else None
    connector = TCPConnector(ssl=context, limit=1)
    async with ClientSession(connector=connector, auth=auth, timeout=ClientTimeout(total=_TIMEOUT)) as session:
        while not parts.lifetime.ending.is_set():
            # who is too slow for the hub is cut off by it, and begins anew
            events = parts.events.subscribe(wanted.types, None)
            try:
                async for batch in _batches(events):
                    if shown := [event for event in batch if _level(event) >= wanted.level]:
                        await _delivered(session, wanted, encode({"streams": streams(shown, wanted)}))
            finally:
                parts.events.unsubscribe(events)


async def _batches(events: Subscription) -> AsyncIterator[list[Event]]:
    """Events with those that follow within a second, until the hub closes the subscription."""
    event = await events.get()
    while event is not None:
        batch: list[Event] = [event]
        with suppress(TimeoutError):
            async with asyncio.timeout(_GATHER):
                while len(batch) < _BATCH and (event := await events.get()) is not None:
                    batch.append(event)
        yield batch
        if event is not None:
            event = await events.get()


def _level(event: Event) -> int:
    if event["type"] != "logging":
        return len(_LEVELS)
    level = str(event["metadata"].get("level", "")).lower()
    return _LEVELS.index(level) if level in _LEVELS else len(_LEVELS)


async def _delivered(session: Any, wanted: Target, body: bytes) -> None:
    from aiohttp import ClientError

    headers = {"Content-Type": "application/json"}
    for attempt in range(_ATTEMPTS):
        try:
            async with session.post(wanted.url, data=body, headers=headers) as answer:
                if answer.status < 300:
                    return
                reason = f"it answered {answer.status}"
                if answer.status < 500 and answer.status != 429:
                    break
        except (ClientError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
        await asyncio.sleep(_PAUSE * 2**attempt)
    log.debug("events could not be forwarded to %s: %s", wanted.url, reason)


def streams(events: Iterable[Event], wanted: Target) -> list[dict[str, Any]]:
    """Loki's form: lines with their time in nanoseconds, by what labels they have."""
    found: dict[tuple[tuple[str, str], ...], list[list[str]]] = defaultdict(list)
    for event in events:
        facts = _facts(event)
        labels = {"app": "lxd", "type": str(event["type"]), "location": "none", "instance": wanted.instance}
        labels |= {name: facts.pop(name) for name in wanted.labels if name in facts}
        moment = datetime.fromisoformat(event["timestamp"])
        nanoseconds = int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
        found[tuple(labels.items())].append([str(nanoseconds), _line(event, facts)])
    return [{"stream": dict(labels), "values": lines} for labels, lines in found.items()]


def _facts(event: Event) -> dict[str, str]:
    metadata = event["metadata"]
    found = {"project": str(event.get("project", ""))}
    if event["type"] == "lifecycle":
        found |= {"action": metadata["action"], "source": metadata["source"]}
        found |= {f"requester-{name}": str(each) for name, each in (metadata.get("requestor") or {}).items()}
    elif event["type"] == "logging":
        found["level"] = str(metadata.get("level", ""))
    found |= {f"context-{name}": str(each) for name, each in (metadata.get("context") or {}).items()}
    return {name: each for name, each in found.items() if each}


def _line(event: Event, facts: Mapping[str, str]) -> str:
    message = (
        event["metadata"].get("message") or event["metadata"].get("action") or event["metadata"].get("description")
    )
    quoted = (
        f'{name}="{each}"' for name, each in sorted((name, each.replace('"', "'")) for name, each in facts.items())
    )
    return " ".join([*quoted, str(message or "")])
