"""A guest's open terminals: CRIU makes them non-blocking to look into them, and leaves them so where a guest goes on after a dump."""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hutch.kernel.syscalls import syscall

_PIDFD_GETFD = 438
_TERMINALS = ("/dev/pts/", "/dev/ptmx", "/dev/tty", "/dev/console")


@dataclass(frozen=True)
class Terminal:
    """A descriptor of a process; `flags` are those that the program set."""

    pid: int
    fd: int
    target: str
    flags: int


def of(pids: Iterable[int]) -> list[Terminal]:
    """Those that block. Blocks for a few small reads."""
    return [each for pid in pids for each in _of(pid) if not each.flags & os.O_NONBLOCK]


def _of(pid: int) -> Iterator[Terminal]:
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if (target := str(path.readlink())).startswith(_TERMINALS):
                    yield Terminal(pid, int(path.name), target, _flags(pid, path.name))


def _flags(pid: int, fd: str) -> int:
    for line in Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8)
    return os.O_NONBLOCK


def block_again(terminals: Iterable[Terminal]) -> None:
    """Make those block again that no longer do. Blocks for a few small calls."""
    for each in terminals:
        with contextlib.suppress(OSError):
            same = os.readlink(f"/proc/{each.pid}/fd/{each.fd}") == each.target  # noqa: PTH115
            if same and _flags(each.pid, str(each.fd)) & os.O_NONBLOCK:
                _set(each)


def _set(terminal: Terminal) -> None:
    process = os.pidfd_open(terminal.pid)
    try:
        copy = syscall(_PIDFD_GETFD, process, terminal.fd, 0, what="pidfd_getfd")
        try:
            fcntl.fcntl(copy, fcntl.F_SETFL, fcntl.fcntl(copy, fcntl.F_GETFL) & ~os.O_NONBLOCK)
        finally:
            os.close(copy)
    finally:
        os.close(process)
