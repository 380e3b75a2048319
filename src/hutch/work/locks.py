"""Keeps two verbs from working on the same thing at once. Locks are taken in `service/`, never below."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class _Lock:
    """`users` hold it or wait for it; `wanted` is set while there is more than one."""

    def __init__(self) -> None:
        self.lock, self.users, self.wanted = asyncio.Lock(), 0, asyncio.Event()


class Locks:
    """Locks by name, made on first use and forgotten when nobody holds or awaits them."""

    def __init__(self) -> None:
        self._locks: dict[str, _Lock] = {}

    @asynccontextmanager
    async def hold(self, *names: str) -> AsyncIterator[None]:
        """Hold all the named locks; they are taken in the order of their names, so that two callers cannot deadlock."""
        async with AsyncExitStack() as stack:
            for name in sorted(set(names)):
                await stack.enter_async_context(self._one(name))
            yield

    @asynccontextmanager
    async def _one(self, name: str) -> AsyncIterator[None]:
        entry = self._locks.setdefault(name, _Lock())
        entry.users += 1
        if entry.users > 1:
            entry.wanted.set()
        try:
            async with entry.lock:
                yield
        finally:
            entry.users -= 1
            if entry.users == 1:
                entry.wanted.clear()
            if not entry.users:
                self._locks.pop(name, None)

    def held(self, name: str) -> bool:
        return name in self._locks

    async def wanted(self, name: str) -> None:
        """Return when somebody else waits for the lock, which the caller holds."""
        await self._locks[name].wanted.wait()
