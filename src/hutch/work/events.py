"""What happens, told to whoever listens: ordered and lossless. A listener that cannot keep up is cut off, never skipped."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from hutch.schema.base import now, timestamp

TYPES = ("operation", "logging", "lifecycle")
_BACKLOG = 100_000


@dataclass(frozen=True)
class Requestor:
    """Who asked for what is being done: shown in lifecycle events and operations' logs."""

    username: str = ""
    protocol: str = "unix"
    address: str = ""


requestor: ContextVar[Requestor | None] = ContextVar("requestor", default=None)


@dataclass(eq=False)
class Subscription:
    """Events of some types, of one project (None: of all). `get` answers None when the listener was cut off.

    `within`: of these projects at the most, and nothing that is of no project (None: no such limit).
    """

    types: frozenset[str]
    project: str | None
    within: frozenset[str] | None = None
    queue: asyncio.Queue[dict[str, Any] | None] = field(default_factory=asyncio.Queue)

    def wants(self, kind: str, project: str) -> bool:
        if kind not in self.types or (self.within is not None and project not in self.within):
            return False
        return self.project is None or not project or project == self.project

    async def get(self) -> dict[str, Any] | None:
        return await self.queue.get()


class Events:
    """The hub. Events are sent from the event loop only (`log` records from threads are handed over)."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def subscribe(
        self, types: Iterable[str], project: str | None, within: frozenset[str] | None = None
    ) -> Subscription:
        subscription = Subscription(frozenset(types), project, within)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
        subscription.queue.put_nowait(None)

    def listens(self, kind: str) -> bool:
        return any(kind in subscription.types for subscription in self._subscriptions)

    def send(self, kind: str, metadata: Mapping[str, Any], project: str = "") -> None:
        if not self._subscriptions:
            return
        event: dict[str, Any] = {
            "type": kind,
            "timestamp": timestamp(now()),
            "metadata": metadata,
            "location": "none",
        }
        if project:
            event["project"] = project
        for subscription in list(self._subscriptions):
            if subscription.wants(kind, project):
                subscription.queue.put_nowait(event)
                if subscription.queue.qsize() > _BACKLOG:
                    self._cut(subscription)

    def _cut(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
        subscription.queue = asyncio.Queue()
        subscription.queue.put_nowait(None)

    def lifecycle(
        self, action: str, source: str, project: str = "default", context: Mapping[str, Any] | None = None
    ) -> None:
        """Something happened to the thing at the URL `source`: `instance-started`, `image-created`. An empty project is
        for what is in none, of which restricted clients are not told."""
        metadata: dict[str, Any] = {
            "action": action,
            "source": source,
            "context": dict(context or {}),
            "project": project,
        }
        if (who := requestor.get()) is not None:
            metadata["requestor"] = {"username": who.username, "protocol": who.protocol, "address": who.address}
        self.send("lifecycle", metadata, project)

    def close(self) -> None:
        for subscription in list(self._subscriptions):
            self.unsubscribe(subscription)


class LogHandler(logging.Handler):
    """Sends the daemon's log as events of type logging."""

    def __init__(self, events: Events, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.events, self.loop = events, loop

    def emit(self, record: logging.LogRecord) -> None:
        if self.loop.is_closed():
            return
        metadata = {
            "message": record.getMessage(),
            "level": record.levelname.lower(),
            "context": {"logger": record.name},
        }
        self.loop.call_soon_threadsafe(self.events.send, "logging", metadata)
