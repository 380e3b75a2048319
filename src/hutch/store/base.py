"""What state asks of whatever keeps it: keys to documents, compare-and-swap, watch.

Keys are paths (`/instances/default/c1`), values JSON documents. Every commit has a revision, one higher than the last.
A key's `revision` is that of the commit which wrote it last; 0 stands for a key that does not exist.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hutch.errors import Conflict


@dataclass(frozen=True)
class Entry:
    key: str
    value: bytes
    revision: int


@dataclass(frozen=True)
class Change:
    """A key was written (`value`) or deleted (None) by the commit `revision`."""

    key: str
    value: bytes | None
    revision: int


class Changed(Conflict):
    """A key that the commit compares has another revision by now: read again, then decide."""


class Store(Protocol):
    async def get(self, key: str) -> Entry | None: ...

    async def range(self, prefix: str) -> list[Entry]:
        """Every entry whose key starts with `prefix`, in the order of keys."""
        ...

    async def commit(
        self,
        *,
        compare: Mapping[str, int] | None = None,
        put: Mapping[str, bytes] | None = None,
        delete: Sequence[str] = (),
    ) -> int:
        """All of it durably, or nothing and Changed when a key of `compare` has another revision; the new revision."""
        ...

    def watch(self, prefix: str, since: int | None = None) -> AsyncIterator[Change]:
        """Changes below `prefix` in order of commits, from after `since` (None: from now on)."""
        ...

    async def close(self) -> None: ...
