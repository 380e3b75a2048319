"""Ends what an earlier test run left that was killed before it could: its processes, control groups and folder."""

import contextlib
import os
import re
import shutil
import signal
import time
from pathlib import Path

from tests.hosts.groups import groups_named
from tests.hosts.namespace import network_of, pids
from tests.hosts.run_folder import identity_of

_FOLDER = re.compile(r"hutch-test-(\d+)-\w+")


def sweep(place: Path) -> None:
    """Sweep every run in `place` whose program lives no more."""
    for folder in place.glob("hutch-test-*"):
        match = _FOLDER.fullmatch(folder.name)
        if match and not _is_python(int(match[1])):
            _sweep_one(folder)


def _is_python(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"python" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _sweep_one(folder: Path) -> None:
    groups = {identity_of(path) for path in folder.glob("host-*/hutch")}
    end = time.monotonic() + 10
    while (left := _processes(folder, groups)) and time.monotonic() < end:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    for top in [top for name in groups for top in groups_named(name)]:
        _remove_groups(top)
    if not left and str(folder) not in Path("/proc/self/mountinfo").read_text():
        shutil.rmtree(folder, ignore_errors=True)


def _processes(folder: Path, groups: set[str]) -> set[int]:
    """Those that name the folder, all that share a network namespace with them, and those in the run's control groups."""
    named, seen = set(), {}
    for pid in pids():
        with contextlib.suppress(OSError):
            entry = Path(f"/proc/{pid}")
            seen[pid] = network_of(pid)
            in_group = any(group in (entry / "cgroup").read_text() for group in groups)
            if in_group or os.fsencode(folder) in (entry / "cmdline").read_bytes():
                named.add(pid)
    own = network_of(os.getpid())
    networks = {seen[pid] for pid in named} - {own}
    return (named | {pid for pid, network in seen.items() if network in networks}) - {os.getpid()}


def _remove_groups(top: Path) -> None:
    for path, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            Path(path).rmdir()
