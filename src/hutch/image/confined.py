"""How the programs that read untrusted image files are started, and how far they are is seen."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

Progress = Callable[[int], None]
"""Is told a percentage, now and then."""

_INTERVAL = 0.2


def confined(path: Path, tree: Path | str, *command: str) -> list[str | Path]:
    """The command line that runs `command` with nothing in sight but the image file and the tree (helper.confine)."""
    return [sys.executable, "-I", "-m", "hutch.helper.confine", path, tree, *command]


@contextlib.contextmanager
def shown(descriptor: int, progress: Progress | None) -> Iterator[None]:
    """While the block runs, tell how much of the file behind `descriptor` has been read by whoever shares its offset."""
    size = max(os.fstat(descriptor).st_size, 1)
    loop = asyncio.get_running_loop()

    timers: list[asyncio.TimerHandle] = []

    def tell() -> None:
        if progress is not None:
            progress(min(99, os.lseek(descriptor, 0, os.SEEK_CUR) * 100 // size))
        timers[:] = [loop.call_later(_INTERVAL, tell)]

    timers.append(loop.call_later(_INTERVAL, tell))
    try:
        yield
    finally:
        timers[0].cancel()
