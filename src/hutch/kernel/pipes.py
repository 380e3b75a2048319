"""Pipes, and terminals read like pipes, as the event loop uses them."""

import asyncio
import errno
import fcntl
import os

PIPE = 1 << 20
"""Bytes that a pipe holds, so that a fast writer is not stopped at each of the loop's turns."""


def pipe(*, ours: int, wide: bool = False) -> tuple[int, int]:
    """Read and write end; the end `ours` (0 or 1) does not block."""
    ends = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(ends[ours], False)
    if wide:
        fcntl.fcntl(ends[0], fcntl.F_SETPIPE_SZ, PIPE)
    return ends


async def read(fd: int, size: int) -> bytes:
    """The next bytes of a descriptor that does not block; nothing at its end (of a terminal: when all have hung up)."""
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            await _ready(fd, write=False)
        except OSError as error:
            if error.errno == errno.EIO:
                return b""
            raise


async def write(fd: int, data: bytes) -> bool:
    """Write all of it; false when nobody reads any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await _ready(fd, write=True)
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EIO):
                return False
            raise
    return True


async def _ready(fd: int, *, write: bool) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    (loop.add_writer if write else loop.add_reader)(fd, ready.set)
    try:
        await ready.wait()
    finally:
        (loop.remove_writer if write else loop.remove_reader)(fd)
