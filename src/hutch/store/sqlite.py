"""The store of a single host: SQLite in one file, one thread that writes, every entry mirrored in memory.

Reads never touch the disk; a commit returns when it is on it (WAL, synchronous=FULL). The schema has a version
(`PRAGMA user_version`); `store/migrations` holds one numbered file for each step from one version to the next.
"""

import asyncio
import bisect
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from hutch.errors import HutchError, Unavailable
from hutch.store import migrations
from hutch.store.base import Change, Changed, Entry

Result = TypeVar("Result")
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=2000")


class Damaged(HutchError):
    """The database cannot be used as it is; the sentence says what to do."""


class SqliteStore:
    """A Store in the file `path`, which only one daemon may have open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(1, "store")
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []
        self._revision = 0
        self._watchers: dict[asyncio.Queue[Change | None], str] = {}
        self._turn = asyncio.Lock()
        self._db: sqlite3.Connection | None = None

    @classmethod
    async def open(cls, path: Path) -> "SqliteStore":
        """The store in `path`, made or migrated as needed. Raises Damaged for a file that is not sound."""
        store = cls(path)
        await store._call(store._open)
        return store

    async def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    async def range(self, prefix: str) -> list[Entry]:
        first = bisect.bisect_left(self._keys, prefix)
        found = []
        for key in self._keys[first:]:
            if not key.startswith(prefix):
                break
            found.append(self._entries[key])
        return found

    async def commit(
        self,
        *,
        compare: Mapping[str, int] | None = None,
        put: Mapping[str, bytes] | None = None,
        delete: Sequence[str] = (),
    ) -> int:
        async with self._turn:
            for key, revision in (compare or {}).items():
                if (entry := self._entries.get(key)) is None and revision == 0:
                    continue
                if entry is None or entry.revision != revision:
                    raise Changed(f"{key} was changed by somebody else at the same time")
            gone = [key for key in delete if key in self._entries]
            # a cancelled caller must not leave the mirror behind the file
            await asyncio.shield(self._apply(dict(put or {}), gone))
            return self._revision

    async def _apply(self, put: dict[str, bytes], delete: list[str]) -> None:
        revision = self._revision + 1
        await self._call(self._write, revision, put, delete)
        self._revision = revision
        for key in delete:
            del self._entries[key]
            del self._keys[bisect.bisect_left(self._keys, key)]
            self._tell(Change(key, None, revision))
        for key, value in put.items():
            if key not in self._entries:
                bisect.insort(self._keys, key)
            self._entries[key] = Entry(key, value, revision)
            self._tell(Change(key, value, revision))

    async def watch(self, prefix: str, since: int | None = None) -> AsyncIterator[Change]:
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._watchers[queue] = prefix
        try:
            if since is not None:
                for entry in sorted(await self.range(prefix), key=lambda entry: entry.revision):
                    if entry.revision > since:
                        yield Change(entry.key, entry.value, entry.revision)
            while (change := await queue.get()) is not None:
                yield change
        finally:
            self._watchers.pop(queue, None)

    async def close(self) -> None:
        async with self._turn:
            for queue in self._watchers:
                queue.put_nowait(None)
            if self._db is not None:
                await self._call(self._db.close)
        self._thread.shutdown(wait=False)

    def _tell(self, change: Change) -> None:
        for queue, prefix in self._watchers.items():
            if change.key.startswith(prefix):
                queue.put_nowait(change)

    async def _call(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _open(self) -> None:
        try:
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            for pragma in _PRAGMAS:
                db.execute(f"PRAGMA {pragma}")
            if (verdict := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(verdict)
            migrations.apply(db)
            rows = db.execute("SELECT key, value, revision FROM entries").fetchall()
            self._revision = db.execute("SELECT value FROM counters WHERE name = 'revision'").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise Damaged(
                f"the database {self.path} is damaged ({error}): move it away and run `hutch admin recover` "
                "to rebuild the records from the storage pools, or put back a copy"
            ) from error
        self._entries = {key: Entry(key, value, revision) for key, value, revision in rows}
        self._keys = sorted(self._entries)
        self._db = db

    def _write(self, revision: int, put: dict[str, bytes], delete: list[str]) -> None:
        assert self._db is not None
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("DELETE FROM entries WHERE key = ?", [(key,) for key in delete])
            self._db.executemany(
                "INSERT INTO entries VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
                [(key, value, revision) for key, value in put.items()],
            )
            self._db.execute("UPDATE counters SET value = ? WHERE name = 'revision'", (revision,))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise Unavailable(f"the database {self.path} cannot be written: {error}") from error
