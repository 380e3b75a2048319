"""A hutchd that is killed, or whose tools are, at one of its steps.

    python -m tests.faults.stepper CONTROL hutchd's arguments ...

A step is what others can see: a program that is started, a commit of the store (before and after), a file or folder that is
made, renamed or removed, a system call that changes mounts, an ioctl. CONTROL is a file of three 32-bit numbers that the test
and this program share: what is killed (`Kill`), the number of the step at which, the steps so far.
"""

import enum
import mmap
import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any

_NUMBERS = struct.Struct("<III")
_EVENTS = {
    "fcntl.ioctl",
    *(f"os.{name}" for name in ("rename", "mkdir", "rmdir", "remove", "link", "symlink", "chmod")),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_READING = ("open_tree", "openat2", "fsopen", "syscall")


class Kill(enum.IntEnum):
    DAEMON = 0
    TOOL = 1


class Control:
    """The shared numbers. Tests arm it, the daemon counts."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(_NUMBERS.size)
            self._memory = mmap.mmap(file.fileno(), _NUMBERS.size)

    def arm(self, kill: Kill, at: int) -> None:
        """From now on count from 0; at step `at` (from 1 on; 0: never) kill."""
        _NUMBERS.pack_into(self._memory, 0, kill, at, 0)

    @property
    def steps(self) -> int:
        return int(_NUMBERS.unpack_from(self._memory)[2])

    def step(self, kill: Kill) -> bool:
        """Count one; whether it is the one."""
        wanted, at, count = _NUMBERS.unpack_from(self._memory)
        if wanted != kill:
            return False
        _NUMBERS.pack_into(self._memory, 0, wanted, at, count + 1)
        return bool(count + 1 == at)


def _watch(control: Control) -> None:
    from hutch.kernel import run, syscalls
    from hutch.store.sqlite import SqliteStore

    def step() -> None:
        if control.step(Kill.DAEMON):
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING):
            step()

    check, write, start = syscalls.check, SqliteStore._write, run.start

    def checked(result: int, what: str) -> int:
        if not what.startswith(_READING):
            step()
        return check(result, what)

    def written(self: SqliteStore, *arguments: Any) -> None:
        step()
        write(self, *arguments)
        step()

    async def started(argv: Any, **how: Any) -> Any:
        step()
        process = await start(argv, **how)
        if control.step(Kill.TOOL):
            os.kill(process.pid, signal.SIGKILL)
        step()
        return process

    syscalls.check, SqliteStore._write, run.start = checked, written, started  # type: ignore[method-assign]
    sys.addaudithook(audit)


if __name__ == "__main__":
    from hutch.daemon.main import main

    _watch(Control(Path(sys.argv.pop(1))))
    sys.exit(main())
