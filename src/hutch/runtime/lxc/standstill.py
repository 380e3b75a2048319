"""How long a guest stands still while CRIU has it."""

import asyncio
import threading
import time
from collections.abc import Awaitable
from pathlib import Path

_STEP, _SPELL = 0.0005, 0.05
"""Seconds between two looks, and for which CRIU lets a process run its own code in between."""


async def measured(init: int, during: Awaitable[None]) -> float:
    """The seconds for which the guest's init stood still at most at a stretch while `during` was done."""
    ended = threading.Event()
    watching = asyncio.ensure_future(asyncio.to_thread(_watch, init, ended))
    try:
        await during
    finally:
        ended.set()
        found = await watching
    return found


def _watch(init: int, ended: threading.Event) -> float:
    longest = first = last = 0.0
    with Path(f"/proc/{init}/stat").open() as file:
        while not ended.wait(_STEP):
            now = time.monotonic()
            file.seek(0)
            if file.read().rpartition(")")[2].split()[0] == "t":
                first = first if first and now - last < _SPELL else now
                last = now
                longest = max(longest, last - first)
    return longest
