"""Points at which a test may look, wait or kill: a daemon with HUTCH_FAULT=POINT stops there until the file is gone.

Without that variable, which only test hosts set, a point costs a comparison.
"""

import asyncio
import os
from pathlib import Path

_POINT = os.environ.get("HUTCH_FAULT", "")
_FILE = Path(os.environ.get("HUTCH_FAULT_FILE", "/nonexistent/fault"))
_EVERY = 0.005


async def point(name: str) -> None:
    """Make the file and wait until somebody removes it, if this is the point that is asked for."""
    if name != _POINT:
        return
    await asyncio.to_thread(_FILE.write_text, name)
    while await asyncio.to_thread(_FILE.exists):  # noqa: ASYNC110
        await asyncio.sleep(_EVERY)
