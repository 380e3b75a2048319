"""What a test run left behind on the machine: processes, mounts, links, loop devices, control groups, rules, folders.

On a machine that others use at the same time (HUTCH_SHARED_MACHINE=1) only what carries a mark of this run counts.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.hosts import run_folder
from tests.hosts.namespace import pids

Snapshot = dict[str, set[str]]

_OURS = ("hutch", "lxc", "dnsmasq", "criu")


def snapshot() -> Snapshot:
    return {what: set(look()) for what, look in _KINDS.items()}


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """What is there now and was not, one line each."""
    shared = bool(os.environ.get("HUTCH_SHARED_MACHINE"))
    marks = run_folder.marks()
    return [
        f"{what}: {entry}"
        for what in sorted(after)
        for entry in sorted(after[what] - before[what])
        if not shared or any(mark in entry for mark in marks)
    ]


def _processes() -> Iterator[str]:
    mine = str(os.getpid())
    for pid in pids():
        with suppress(OSError):
            entry = Path(f"/proc/{pid}")
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            groups = " ".join((entry / "cgroup").read_text().split())
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == mine or any(word in words or word in groups for word in _OURS):
                yield f"{pid} {words} {groups}"


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        front, _, back = line.partition(" - ")
        yield f"{front.split()[4]} {back}"


def _links() -> Iterator[str]:
    for line in _output("ip", "-o", "link", "show"):
        yield line.split(":")[1].strip().partition("@")[0]


def _namespaces() -> Iterator[str]:
    yield from (line.split()[0] for line in _output("ip", "netns", "list") if line)


def _loops() -> Iterator[str]:
    yield from _output("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE")


def _cgroups() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[words.index("-") + 1] in ("cgroup", "cgroup2"):
            for folder, names, _ in os.walk(words[4]):
                yield from (f"{folder}/{name}" for name in names if _is_ours(name))


def _is_ours(name: str) -> bool:
    return any(word in name for word in _OURS)


def _tables() -> Iterator[str]:
    yield from _output("nft", "list", "tables")


def _folders() -> Iterator[str]:
    yield from (str(path) for path in Path("/tmp").glob("hutch-test-*"))


def _output(*argv: str) -> list[str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return [line.strip() for line in done.stdout.splitlines()]


_KINDS: dict[str, Callable[[], Iterator[str]]] = {
    "process": _processes,
    "mount": _mounts,
    "link": _links,
    "network namespace": _namespaces,
    "loop device": _loops,
    "control group": _cgroups,
    "firewall table": _tables,
    "folder": _folders,
}
