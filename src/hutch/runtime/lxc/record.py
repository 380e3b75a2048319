"""What the driver writes down about a guest, so that a later daemon finds it again."""

import contextlib
import os
from pathlib import Path

import msgspec

from hutch.kernel import pidfd

FILE = "runtime.json"


class Record(msgspec.Struct, omit_defaults=True):
    """The processes of a guest by pid and start time; pids are 0 from before lxc-start until it has answered.

    `boot` is the host's boot id: pids of another boot mean nothing.
    """

    boot: str
    init: int = 0
    init_started: int = 0
    monitor: int = 0
    monitor_started: int = 0


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def of(init: int, monitor: int) -> Record:
    """Raises ProcessLookupError when one of them has ended."""
    times = pidfd.start_time(init), pidfd.start_time(monitor)
    if times[0] is None or times[1] is None:
        raise ProcessLookupError
    return Record(boot_id(), init, times[0], monitor, times[1])


def write(directory: Path, record: Record) -> None:
    new = directory / f"{FILE}.new"
    new.write_bytes(msgspec.json.encode(record))
    new.replace(directory / FILE)


def read(directory: Path) -> Record | None:
    """The record of this boot; None when there is none."""
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        record = msgspec.json.decode((directory / FILE).read_bytes(), type=Record)
        if record.boot == boot_id():
            return record
    return None


def remove(directory: Path) -> None:
    for name in (FILE, f"{FILE}.new"):
        (directory / name).unlink(missing_ok=True)


def monitor_title(path: Path, name: str) -> bytes:
    """What liblxc's monitor of the container `name` in `path` calls itself in /proc/PID/cmdline."""
    return os.fsencode(f"[lxc monitor] {path} {name}")


def is_monitor(pid: int, path: Path, name: str) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0") == monitor_title(path, name)
    return False


def init_of(monitor: int) -> int | None:
    """The guest's init: the only child that a monitor keeps. None before it has one."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split()
        return int(children[0]) if children else None
    return None
