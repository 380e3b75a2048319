"""What a control group has used so far and uses now, in more detail than a limit needs. Every function reads files and blocks."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hutch.errors import Unsupported
from hutch.kernel.cgroup import Group

MEMORY = {
    "Active_anon": ("active_anon", "total_active_anon"),
    "Active_file": ("active_file", "total_active_file"),
    "Inactive_anon": ("inactive_anon", "total_inactive_anon"),
    "Inactive_file": ("inactive_file", "total_inactive_file"),
    "Cached": ("file", "total_cache"),
    "Dirty": ("file_dirty", "total_dirty"),
    "Mapped": ("file_mapped", "total_mapped_file"),
    "RSS": ("anon", "total_rss"),
    "Shmem": ("shmem", "total_shmem"),
    "Unevictable": ("unevictable", "total_unevictable"),
    "Writeback": ("file_writeback", "total_writeback"),
}
"""Kinds of memory by LXD's names, with the kernel's words for them in memory.stat of version 2 and 1."""


@dataclass
class Disk:
    """What was read from and written to one block device."""

    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0


@dataclass
class Statistics:
    """`cpu` is seconds by (CPU's number or empty, mode), `memory` bytes by the names of MEMORY, `disks` by device name."""

    cpu: dict[tuple[str, str], float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    used: int = 0
    limit: int = 0
    swap: int = 0
    oom_kills: int = 0
    disks: dict[str, Disk] = field(default_factory=dict)
    processes: int = 0


def of(group: Group) -> Statistics:
    """Everything that this host counts of the group; what it does not count is left out, or 0."""
    legacy = "memory" in group.layout.legacy
    words = _pairs(_text(group, "memory.stat"))
    memory = {name: words[kernel[legacy]] for name, kernel in MEMORY.items() if kernel[legacy] in words}
    usage = group.usage()
    return Statistics(
        cpu=_cpu(group),
        memory=memory,
        used=usage["memory"],
        limit=_limit(_text(group, "memory.limit_in_bytes" if legacy else "memory.max")),
        swap=usage["swap"],
        oom_kills=_pairs(_text(group, "memory.oom_control" if legacy else "memory.events")).get("oom_kill", 0),
        disks=_disks_1(group) if "blkio" in group.layout.legacy else _disks_2(group),
        processes=usage["processes"],
    )


def _text(group: Group, file: str) -> str:
    with contextlib.suppress(OSError, Unsupported):
        return (group.layout.root(file) / group.path / file).read_text()
    return ""


def _pairs(text: str) -> dict[str, int]:
    return {words[0]: int(words[1]) for line in text.splitlines() if len(words := line.split()) == 2}


def _limit(text: str) -> int:
    """Bytes; 0 for none, which version 1 writes as the largest number of pages there is."""
    number = int(text) if text.strip().isdigit() else 0
    return number if number < 1 << 60 else 0


def _cpu(group: Group) -> dict[tuple[str, str], float]:
    if "cpuacct" in group.layout.legacy:
        found = {}
        for line in _text(group, "cpuacct.usage_all").splitlines()[1:]:
            cpu, user, system = line.split()
            found[cpu, "user"], found[cpu, "system"] = int(user) / 1e9, int(system) / 1e9
        return found
    with contextlib.suppress(OSError, AttributeError):
        words = _pairs((group.layout.unified / group.path / "cpu.stat").read_text())  # type: ignore[operator]
        return {("", mode): words[f"{mode}_usec"] / 1e6 for mode in ("user", "system") if f"{mode}_usec" in words}
    return {}


def _disks_2(group: Group) -> dict[str, Disk]:
    found = {}
    for line in _text(group, "io.stat").splitlines():
        device, *words = line.split()
        counts = dict(word.split("=") for word in words)
        found[_name(device)] = Disk(*(int(counts.get(key, 0)) for key in ("rbytes", "wbytes", "rios", "wios")))
    return found


def _disks_1(group: Group) -> dict[str, Disk]:
    found: dict[str, Disk] = {}
    for device, kind, count in _blkio(group, "io_service_bytes"):
        disk = found.setdefault(_name(device), Disk())
        disk.read_bytes, disk.written_bytes = (
            (count, disk.written_bytes) if kind == "Read" else (disk.read_bytes, count)
        )
    for device, kind, count in _blkio(group, "io_serviced"):
        disk = found.setdefault(_name(device), Disk())
        disk.reads, disk.writes = (count, disk.writes) if kind == "Read" else (disk.reads, count)
    return found


def _blkio(group: Group, file: str) -> Iterator[tuple[str, str, int]]:
    for line in _text(group, f"blkio.throttle.{file}_recursive").splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in ("Read", "Write"):
            yield words[0], words[1], int(words[2])


def _name(device: str) -> str:
    """`8:0` as `sda`."""
    try:
        return Path("/sys/dev/block", device).readlink().name
    except OSError:
        return device


Counts = tuple[int, int, int, int]


def network(pid: int) -> dict[str, tuple[Counts, Counts]]:
    """What each interface in the process's network namespace received and sent: bytes, packets, errors, packets dropped."""
    found: dict[str, tuple[Counts, Counts]] = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]:
            name, _, counts = line.rpartition(":")
            n = [int(word) for word in counts.split()]
            found[name.strip()] = (n[0], n[1], n[2], n[3]), (n[8], n[9], n[10], n[11])
    return found
