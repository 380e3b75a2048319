"""A daemon that says what a test tells it to, over a real Unix socket, and remembers what it was asked.

It stands for hutchd where the client alone is under test; the real daemon is used in tests/functional.
"""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

OPERATION = "/1.0/operations/11111111-2222-3333-4444-555555555555"


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Sync:
    metadata: Any
    etag: str = ""


@dataclass
class Failure:
    code: int
    text: str


@dataclass
class Work:
    """An operation: its documents while it runs, then the final one."""

    metadata: dict[str, Any] = field(default_factory=dict)
    status_code: int = 200
    err: str = ""
    steps: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    resources: dict[str, list[str]] = field(default_factory=dict)

    def document(self, *, final: bool) -> dict[str, Any]:
        step = self.steps.pop(0) if self.steps and not final else {}
        return {
            "id": OPERATION.rpartition("/")[2],
            "class": "task",
            "description": "Doing it",
            "status_code": self.status_code if final else 103,
            "metadata": self.metadata if final else self.metadata | step,
            "err": self.err if final else "",
            "resources": self.resources,
            "may_cancel": True,
        }


Answer = Any


class Fake:
    """`answers[METHOD, PATH]` is metadata, Sync, Failure, Work, an aiohttp response, or a function of what was asked."""

    def __init__(self, socket: Path) -> None:
        self.socket, self.answers, self.asked = socket, dict[tuple[str, str], Answer](), list[Asked]()
        self.raw: dict[tuple[str, str], Callable[[web.Request], Any]] = {}
        self.work: Work | None = None
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> "Fake":
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self.loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1, keepalive_timeout=0.3)
        await self.runner.setup()
        await web.UnixSite(self.runner, str(self.socket)).start()

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        key = (http.method, http.raw_path.partition("?")[0])
        if key in self.raw:
            return await self.raw[key](http)
        asked = Asked(*key, dict(http.query), await http.read(), dict(http.headers))
        self.asked.append(asked)
        if key[1].startswith(OPERATION):
            return await self._operation(key[1], http.method)
        found = self.answers.get(key, Failure(404, f"not found: {key[0]} {key[1]}"))
        return self._answer(found(asked) if callable(found) else found)

    async def _operation(self, path: str, method: str) -> web.Response:
        assert self.work is not None
        if method == "DELETE":
            self.work.seconds, self.work.status_code, self.work.err = 0, 401, "cancelled by the user"
            return _sync({})
        if not path.endswith("/wait"):
            return _sync(self.work.document(final=False))
        while self.work.seconds > 0:
            await asyncio.sleep(0.05)
            self.work.seconds -= 0.05
        return _sync(self.work.document(final=True))

    def _answer(self, found: Answer) -> web.StreamResponse:
        if isinstance(found, web.StreamResponse):
            return found
        if isinstance(found, Failure):
            body = {"type": "error", "error": found.text, "error_code": found.code, "metadata": None}
            return web.json_response(body, status=found.code)
        if isinstance(found, Work):
            self.work = found
            body = {"type": "async", "operation": OPERATION, "metadata": found.document(final=False)}
            return web.json_response(body, status=202, headers={"Location": OPERATION})
        if isinstance(found, Sync):
            return _sync(found.metadata, {"ETag": found.etag} if found.etag else {})
        return _sync(found)

    def last(self, method: str, path: str = "") -> Asked:
        return next(a for a in reversed(self.asked) if a.method == method and (not path or a.path == path))


def _sync(metadata: Any, headers: dict[str, str] | None = None) -> web.Response:
    body = {"type": "sync", "status": "Success", "status_code": 200, "operation": "", "metadata": metadata}
    return web.json_response(body, headers=headers)
