"""Processes by descriptor: signals that cannot hit a reused pid, and exits seen without polling."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path


def open_pid(pid: int) -> int | None:
    """A descriptor for the process, or None when it is gone."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def send(pidfd: int, number: signal.Signals | int) -> bool:
    """Signal the process; false when it has ended."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


class Watch:
    """Calls back once, from the event loop, when a process ends. Owns the descriptor."""

    def __init__(self, pid: int, ended: Callable[[], None]) -> None:
        fd = open_pid(pid)
        self.pid, self.fd, self._ended = pid, fd, ended
        self.loop = asyncio.get_running_loop()
        if fd is None:
            self.loop.call_soon(ended)
        else:
            self.loop.add_reader(fd, self._fire)

    def _fire(self) -> None:
        self.close()
        self._ended()

    def close(self) -> None:
        """Stop watching; the callback will not come."""
        if self.fd is not None:
            self.loop.remove_reader(self.fd)
            os.close(self.fd)
            self.fd = None


async def wait(pid: int) -> None:
    """Return when the process has ended."""
    ended = asyncio.Event()
    watch = Watch(pid, ended.set)
    try:
        await ended.wait()
    finally:
        watch.close()


def start_time(pid: int) -> int | None:
    """Clock ticks after boot at which the process began (field 22 of /proc/PID/stat): with the pid it is unique.

    None when it has ended, even if nobody has reaped it yet.
    """
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    return None
