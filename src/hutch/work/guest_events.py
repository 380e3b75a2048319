"""What changes of a guest, told to that guest alone by its own API. A guest that does not read is cut off."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hutch.schema.base import now, timestamp

TYPES = ("config", "device")
_BACKLOG = 256


@dataclass(eq=False)
class Listener:
    """One stream of a guest's events; `queue` ends with None."""

    types: frozenset[str]
    queue: asyncio.Queue[dict[str, Any] | None] = field(default_factory=asyncio.Queue)

    def end(self) -> None:
        """Drop what waits: the reader learns that it is over."""
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


class GuestEvents:
    """Listeners by guest (project, name). To be used from the event loop only."""

    def __init__(self) -> None:
        self._listeners: dict[tuple[str, str], set[Listener]] = {}

    def subscribe(self, project: str, name: str, types: Iterable[str]) -> Listener:
        listener = Listener(frozenset(types))
        self._listeners.setdefault((project, name), set()).add(listener)
        return listener

    def unsubscribe(self, project: str, name: str, listener: Listener) -> None:
        listeners = self._listeners.get((project, name), set())
        listeners.discard(listener)
        if not listeners:
            self._listeners.pop((project, name), None)

    def send(self, project: str, name: str, kind: str, metadata: Mapping[str, Any]) -> None:
        event = {"type": kind, "timestamp": timestamp(now()), "metadata": metadata}
        for listener in list(self._listeners.get((project, name), ())):
            if kind not in listener.types:
                continue
            if listener.queue.qsize() >= _BACKLOG:
                listener.end()
                self.unsubscribe(project, name, listener)
            else:
                listener.queue.put_nowait(event)

    def end(self, project: str, name: str) -> None:
        """End every stream of the guest."""
        for listener in self._listeners.pop((project, name), ()):
            listener.end()
