"""Pseudo terminals and pipes as the event loop uses them."""

import asyncio
import errno
import fcntl
import os
import struct
import termios
import tty

PIPE = 1 << 20
"""Bytes that a pipe holds, so that a fast writer is not stopped at each of the loop's turns."""


def open_pty(columns: int = 0, rows: int = 0) -> tuple[int, int]:
    """A master and its slave, in raw mode: whoever gets the slave has a terminal of its own behind it."""
    master, slave = os.openpty()
    tty.setraw(slave)
    if columns > 0 and rows > 0:
        resize(master, columns, rows)
    os.set_blocking(master, False)
    return master, slave


def resize(master: int, columns: int, rows: int) -> None:
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0))


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
