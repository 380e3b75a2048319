"""Long work that a client can watch, wait for and cancel."""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol
from uuid import uuid4

from hutch.errors import Cancelled, Forbidden, HutchError, Invalid, NotFound
from hutch.schema.base import now, timestamp
from hutch.schema.status import Status
from hutch.work.events import Events
from hutch.work.tasks import Tasks

log = logging.getLogger(__name__)

KEPT = 60.0
"""Seconds for which an operation stays readable after its end."""
_QUIET = 0.2


asking: ContextVar[str] = ContextVar("asking", default="default")
"""The project of the request that is being answered: who asked listens there for the end of what was begun."""


class Socket(Protocol):
    """A websocket as the verbs see it. `receive` answers bytes, text, or None at its end."""

    async def receive(self) -> bytes | str | None: ...
    async def send(self, data: bytes | str) -> None: ...
    async def close(self) -> None: ...


class Operation:
    """One piece of work. `resources` maps plural kinds to URLs; `metadata` is shown to clients as it is."""

    def __init__(
        self,
        operations: "Operations",
        description: str,
        *,
        kind: str,
        project: str,
        resources: Mapping[str, Sequence[str]] | None,
        metadata: Mapping[str, Any] | None,
        may_cancel: bool,
        id: str | None,
        cancelled: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self.id = id or str(uuid4())
        self._cancelled = cancelled
        self.description, self.kind, self.project = description, kind, project
        self.resources = {name: list(urls) for name, urls in (resources or {}).items()}
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.may_cancel = may_cancel
        self.created_at = self.updated_at = now()
        self.status, self.error = Status.RUNNING, ""
        self.failure: HutchError | None = None
        self.sockets: dict[str, asyncio.Future[Socket]] = {}
        self._operations = operations
        self._task: asyncio.Task[Any] | None = None
        self._ended = asyncio.Event()
        self._told = 0.0

    @property
    def url(self) -> str:
        return f"/1.0/operations/{self.id}"

    def document(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "class": self.kind,
            "description": self.description,
            "created_at": timestamp(self.created_at),
            "updated_at": timestamp(self.updated_at),
            "status": self.status.text,
            "status_code": int(self.status),
            "resources": self.resources,
            "metadata": dict(self.metadata) or None,
            "may_cancel": self.may_cancel and not self.status.final,
            "err": self.error,
            "location": "none",
        }

    def update(self, **metadata: Any) -> None:
        """Show more metadata; None removes a member. Listeners are told at once."""
        for key, value in metadata.items():
            if value is None:
                self.metadata.pop(key, None)
            else:
                self.metadata[key] = value
        self._tell()

    def progress(self, key: str, stage: str, percent: int, speed: int = 0, text: str = "") -> None:
        """Show how far the work is, at most five times a second: `key` ends in _progress, `speed` is in bytes a second."""
        moment = time.monotonic()
        if percent < 100 and moment - self._told < _QUIET:
            return
        self._told = moment
        shown = text or f"{percent}%" + (f" ({speed / 1e6:.2f}MB/s)" if speed else "")
        self.update(
            **{
                key: f"{stage}: {shown}",
                "progress": {"stage": key.removesuffix("_progress"), "percent": str(percent), "speed": str(speed)},
            }
        )

    def socket(self, name: str, *, at_top: bool = False) -> str:
        """Expect a websocket; the secret by which a client connects it. `sockets` holds its future by that secret.

        Clients find it in the metadata below `fds`, or, as migrations have it, at the top.
        """
        secret = secrets.token_hex(32)
        self.sockets[secret] = asyncio.get_running_loop().create_future()
        self.sockets[secret].add_done_callback(lambda future: future.cancelled() or future.exception())
        (self.metadata if at_top else self.metadata.setdefault("fds", {}))[name] = secret
        return secret

    def connect(self, secret: str, socket: Socket) -> None:
        """A client opened the websocket of `secret`; each secret is good once."""
        future = self.sockets.get(secret)
        if future is None or future.done():
            raise Forbidden("Forbidden")
        future.set_result(socket)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; false when `timeout` seconds were not enough."""
        try:
            async with asyncio.timeout(timeout):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    async def cancel(self) -> None:
        if self.status.final:
            raise Invalid("Only running operations can be cancelled")
        if not self.may_cancel:
            raise Invalid("This operation can't be cancelled")
        if self._cancelled is not None:
            await self._cancelled()
        self.stop()
        await self._ended.wait()

    def stop(self) -> None:
        """Cancel the work whether or not clients may."""
        if self._task is not None:
            self.status = Status.CANCELLING
            self._task.cancel()
        else:
            self.end(Status.CANCELLED)

    def run(self, work: Callable[["Operation"], Awaitable[Any]]) -> None:
        self._task = self._operations.tasks.spawn(self._run(work), f"operation {self.description}")

    async def _run(self, work: Callable[["Operation"], Awaitable[Any]]) -> None:
        try:
            await work(self)
        except asyncio.CancelledError:
            self.fail(Cancelled("the operation was cancelled"), Status.CANCELLED)
        except HutchError as error:
            self.fail(error)
        except Exception as error:
            log.exception("operation %s (%s) failed", self.description, self.id)
            self.fail(HutchError(f"{type(error).__name__}: {error}"))
        else:
            self.end(Status.SUCCESS)

    def fail(self, error: HutchError, status: Status = Status.FAILURE) -> None:
        self.error, self.failure = str(error), error
        log.info("operation %s (%s): %s", self.description, self.id, error)
        self.end(status)

    def end(self, status: Status) -> None:
        """Reach a final status; token operations, which have no work, are ended by their use."""
        if self.status.final:
            return
        self.status = status
        for future in self.sockets.values():
            future.cancel()
        self._tell()
        self._ended.set()
        self._operations.forget_later(self)

    def _tell(self) -> None:
        self.updated_at = now()
        self._operations.events.send("operation", self.document(), self.project)


class Operations:
    """Every operation that runs or has ended a minute ago."""

    def __init__(self, events: Events, tasks: Tasks) -> None:
        self.events, self.tasks = events, tasks
        self._operations: dict[str, Operation] = {}
        self.closing = False

    def start(
        self,
        description: str,
        work: Callable[[Operation], Awaitable[Any]] | None,
        *,
        kind: str = "task",
        project: str = "default",
        resources: Mapping[str, Sequence[str]] | None = None,
        metadata: Mapping[str, Any] | None = None,
        may_cancel: bool = False,
        id: str | None = None,
        cancelled: Callable[[], Awaitable[None]] | None = None,
    ) -> Operation:
        """A new operation, told to listeners and running. What is done in the default project, for what a project shares with
        it, belongs to the one that asked. `work` is None for tokens, and for websocket operations
        whose sockets must be made first: those call `run` themselves. `cancelled` is called before a client's cancel."""
        operation = Operation(
            self,
            description,
            kind=kind,
            project=asking.get() if project == "default" else project,
            resources=resources,
            metadata=metadata,
            may_cancel=may_cancel,
            id=id,
            cancelled=cancelled,
        )
        self._operations[operation.id] = operation
        operation._tell()
        if work is not None:
            operation.run(work)
        return operation

    def get(self, id: str) -> Operation:
        if (operation := self._operations.get(id)) is None:
            raise NotFound("Operation not found")
        return operation

    def all(self) -> list[Operation]:
        return list(self._operations.values())

    def forget_later(self, operation: Operation) -> None:
        asyncio.get_running_loop().call_later(KEPT, self._operations.pop, operation.id, None)

    async def close(self, patience: float = 10) -> None:
        """End of the daemon: let short work finish, cancel the rest (it undoes itself)."""
        self.closing = True
        running = [operation for operation in self.all() if operation._task is not None and not operation.status.final]
        short = [operation for operation in running if operation.kind == "task"]
        if short:
            await asyncio.wait([asyncio.ensure_future(operation.wait(patience)) for operation in short])
        for operation in running:
            if not operation.status.final:
                operation.stop()
                await operation.wait(patience)
