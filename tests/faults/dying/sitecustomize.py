"""Lets a daemon kill itself before one of its commits: the file that HUTCH_DIES names says before which.

Python imports this at its start when its folder is in PYTHONPATH.
"""

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ORDER = Path(os.environ.get("HUTCH_DIES", "/nowhere"))


def _point() -> None:
    if not ORDER.exists():
        return
    left = int(ORDER.read_text()) - 1
    if not left:
        ORDER.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    ORDER.write_text(str(left))


def _dying(commit: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
    async def wrapped(*args: Any, **kwargs: Any) -> int:
        _point()
        return await commit(*args, **kwargs)

    return wrapped


if ORDER.parent.is_dir():
    from hutch.store.sqlite import SqliteStore

    SqliteStore.commit = _dying(SqliteStore.commit)  # type: ignore[assignment, method-assign]
