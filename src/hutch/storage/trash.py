"""The folder of a pool where deleted things wait for their removal, which happens in the background."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

from hutch.errors import ToolFailed
from hutch.kernel import tree

log = logging.getLogger(__name__)


class Trash:
    """What is taken is gone from its place at once; `remove` then removes it, now or after the next start."""

    def __init__(self, folder: Path, remove: Callable[[Path], Awaitable[None]]) -> None:
        self.folder, self._remove = folder, remove
        self._sweeper: asyncio.Task[None] | None = None
        self._again = False

    def take(self, path: Path) -> bool:
        """Move `path` here, durable on return; false when it is not there. Blocks."""
        try:
            path.rename(self.folder / uuid.uuid4().hex)
        except FileNotFoundError:
            return False
        tree.sync(path.parent)
        return True

    def sweep(self) -> None:
        """See that what is here is being removed."""
        self._again = True
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep(), name=f"sweep {self.folder}")

    async def empty(self) -> None:
        """Return when what was taken so far is removed, or cannot be."""
        while self._sweeper is not None and not self._sweeper.done():
            await asyncio.wait([self._sweeper])

    async def close(self) -> None:
        """Stop removing; the rest waits for the next start."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
            self._sweeper = None

    async def _sweep(self) -> None:
        while self._again:
            self._again = False
            for path in await asyncio.to_thread(lambda: list(self.folder.iterdir())):
                try:
                    await self._remove(path)
                except (OSError, ToolFailed) as error:
                    log.warning("deleted storage at %s cannot be removed yet: %s", path, error)
