"""A thread for the blocking work of one request, which may be the root of a guest to the filesystem.

What a guest's files do to it (a filesystem of the guest's own making may never answer) holds up this request alone:
the thread is in no pool, and the end of the daemon does not wait for it.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from hutch.kernel.credentials import become_root_of
from hutch.kernel.idmap import IdMap

log = logging.getLogger(__name__)

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Worker:
    """Runs one call after the other. `idmap`: be the root of a guest with this map; empty: stay the host's root."""

    def __init__(self, name: str, idmap: Sequence[IdMap] = ()) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._refusal: BaseException | None = None
        threading.Thread(target=self._run, args=(idmap,), name=name, daemon=True).start()

    async def call(self, function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """The function's result, once the calls before it are done. A cancelled caller leaves it to its end."""
        future: asyncio.Future[Result] = self._loop.create_future()

        def work() -> None:
            try:
                if self._refusal is not None:
                    raise self._refusal
                self._tell(future, future.set_result, function(*args, **kwargs))
            except BaseException as error:
                self._tell(future, future.set_exception, error)

        self._calls.put(work)
        return await future

    def later(self, function: Callable[[], object]) -> None:
        """Run the function after the calls before it; nobody waits for it."""
        self._calls.put(function)

    def finish(self) -> None:
        """End after the calls so far."""
        self._calls.put(None)

    def _tell(self, future: "asyncio.Future[Any]", tell: Callable[[Any], None], value: Any) -> None:
        def told() -> None:
            if not future.done():
                tell(value)

        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(told)

    def _run(self, idmap: Sequence[IdMap]) -> None:
        try:
            if idmap:
                become_root_of(idmap)
        except Exception as error:
            self._refusal = error
        while (work := self._calls.get()) is not None:
            try:
                work()
            except Exception:
                log.exception("the last steps of %s failed", threading.current_thread().name)
