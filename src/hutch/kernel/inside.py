"""The process that lxc-attach runs inside a guest: its child in another pid namespace."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from hutch.kernel import pidfd

_PATIENCE, _PAUSE = 2.0, 0.01


async def send(attach: int, number: int, *, group: bool = False) -> bool:
    """Signal the guest's process below the process `attach`, and with `group` its process group; false when it has ended.

    lxc-attach needs some milliseconds to make it, for which this waits.
    """
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while (child := _child(attach)) is None:
        if pidfd.start_time(attach) is None or asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(_PAUSE)
    return _send(child, number, group=group)


def _send(child: int, number: int, *, group: bool) -> bool:
    fd = pidfd.open_pid(child)
    if fd is None:
        return False
    try:
        with contextlib.suppress(ProcessLookupError):
            # A group of its own: the one of lxc-attach must live to tell the exit status.
            if group and os.getpgid(child) == child:
                os.killpg(child, number)
        return pidfd.send(fd, number)
    finally:
        os.close(fd)


def _child(attach: int) -> int | None:
    with contextlib.suppress(OSError):
        for word in Path(f"/proc/{attach}/task/{attach}/children").read_text().split():
            if _is_inside(int(word)):
                return int(word)
    return None


def _is_inside(pid: int) -> bool:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return len(line.split()) > 2
    return False


def is_signal(number: int) -> bool:
    return number in signal.valid_signals()
