"""Points at which a test may look, wait or kill: a daemon with HUTCH_FAULTS=FOLDER stops where a file of the point's name is.

It renames the file to POINT.reached and goes on when that is gone. Without the variable, which only test hosts set, a point
costs a comparison.
"""

import asyncio
import contextlib
import os
from pathlib import Path

_FOLDER = os.environ.get("HUTCH_FAULTS", "")
_EVERY = 0.005


async def point(name: str) -> None:
    """Stop here if that is asked for."""
    if _FOLDER:
        await _stop(Path(_FOLDER, name))


async def _stop(wanted: Path) -> None:
    reached = wanted.with_name(f"{wanted.name}.reached")
    with contextlib.suppress(FileNotFoundError):
        await asyncio.to_thread(wanted.rename, reached)
        while await asyncio.to_thread(reached.exists):  # noqa: ASYNC110
            await asyncio.sleep(_EVERY)
