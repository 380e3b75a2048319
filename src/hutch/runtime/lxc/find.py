"""Finding a guest's processes, right after its start and in a daemon that did not start it."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from hutch.errors import ToolFailed
from hutch.kernel import pidfd
from hutch.kernel.cgroup import Group
from hutch.runtime.base import Running
from hutch.runtime.lxc import record
from hutch.runtime.lxc.config import MONITOR_PID

_START_GRACE = 30.0
_END_GRACE = 3.0
_NAME_GRACE = 5.0


@dataclass(frozen=True)
class Seen:
    """What is known of a guest at first sight: its processes, and its control group's folders."""

    running: Running
    folders: list[str]


def look(group: Group, processes: record.Record) -> Seen:
    """Blocks for a few small reads."""
    running = Running(processes.init, processes.monitor, processes.init_started, group.frozen())
    return Seen(running, [str(folder) for folder in group.folders()])


def started(directory: Path, group: Group) -> Seen:
    """The guest that lxc-start says it has just started, written down. Blocks."""
    monitor = _named_monitor(directory)
    init = record.init_of(monitor) if monitor else None
    if monitor is None or init is None:
        raise ToolFailed(["lxc-start"], 0, f"the guest {directory.name} ended as soon as it had started")
    try:
        found = record.of(init, monitor)
    except ProcessLookupError:
        raise ToolFailed(["lxc-start"], 0, f"the guest {directory.name} ended as soon as it had started") from None
    record.write(directory, found)
    return look(group, found)


def again(directory: Path) -> record.Record | None:
    """The guest that an earlier daemon started from `directory`; pids are 0 when it has ended since. Blocks.

    None when none ran: there is no record of this boot.
    """
    known = record.read(directory)
    if known is None:
        return None
    if known.monitor:
        same = pidfd.start_time(known.monitor) == known.monitor_started
        return known if same else record.Record(known.boot)
    return _interrupted(directory) or record.Record(known.boot)


def _interrupted(directory: Path) -> record.Record | None:
    """A guest whose start was under way when the daemon died: lxc-start or lxc-checkpoint goes on alone and is waited for."""
    end = time.monotonic() + _START_GRACE
    while time.monotonic() < end:
        monitor = _monitor_pid(directory)
        if monitor is not None and (init := record.init_of(monitor)) and _executed(init):
            with contextlib.suppress(ProcessLookupError):
                found = record.of(init, monitor)
                record.write(directory, found)
                return found
        if monitor is None and not _starting(directory):
            return None
        time.sleep(0.005)
    end_monitor(directory)
    return None


def _executed(init: int) -> bool:
    """Whether the guest's init is past liblxc's own code, and CRIU's."""
    with contextlib.suppress(OSError):
        return not Path(f"/proc/{init}/exe").readlink().name.startswith(("lxc", "criu"))
    return False


def _starting(directory: Path) -> bool:
    """Whether an lxc-start or lxc-checkpoint of this guest is at work that has not become a monitor yet."""
    wanted = [os.fsencode(word) for word in ("-P", str(directory.parent), "-n", directory.name, "-d")]
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if words[1:6] == wanted or record.is_monitor(int(folder.name), directory.parent, directory.name):
                    return True
    return False


def end_monitor(directory: Path) -> None:
    """Wait for the monitor of a failed start to clean up after itself, and end it if it does not. Blocks."""
    end = time.monotonic() + _END_GRACE
    while (monitor := _monitor_pid(directory)) is not None:
        if time.monotonic() > end:
            for pid in (record.init_of(monitor), monitor):
                if pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _named_monitor(directory: Path) -> int | None:
    """The monitor of a guest that has just been started: after a restore it gives itself its name a moment later."""
    end = time.monotonic() + _NAME_GRACE
    while (monitor := _monitor_pid(directory)) is None and time.monotonic() < end:
        pid = _written_pid(directory)
        if pid is None or pidfd.start_time(pid) is None:
            return None
        time.sleep(0.002)
    return monitor


def _monitor_pid(directory: Path) -> int | None:
    """The monitor by the file that it wrote, if it still is one."""
    pid = _written_pid(directory)
    return pid if pid is not None and record.is_monitor(pid, directory.parent, directory.name) else None


def _written_pid(directory: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int((directory / MONITOR_PID).read_text())
    return None
