"""What guests use, and what the daemon does, for Prometheus: under LXD's names, so that its dashboards fit.

It is gathered at most every eight seconds, however often it is asked for, as LXD does.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Mapping

from hutch.errors import NotFound
from hutch.kernel import statistics
from hutch.runtime.base import Running
from hutch.schema.instance import InstanceRecord
from hutch.schema.status import Status
from hutch.service.parts import Parts
from hutch.work.samples import Measured, Samples

CACHED = 8.0
"""Seconds for which a measurement is good."""

_HOST_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

NAMES = {
    "lxd_cpu_seconds_total": ("counter", "The total number of CPU time used in seconds"),
    "lxd_disk_read_bytes_total": ("counter", "The total number of bytes read"),
    "lxd_disk_reads_completed_total": ("counter", "The total number of completed reads"),
    "lxd_disk_written_bytes_total": ("counter", "The total number of bytes written"),
    "lxd_disk_writes_completed_total": ("counter", "The total number of completed writes"),
    "lxd_filesystem_avail_bytes": ("gauge", "The bytes of a filesystem that a guest can use"),
    "lxd_filesystem_free_bytes": ("gauge", "The free bytes of a filesystem"),
    "lxd_filesystem_size_bytes": ("gauge", "The size of a filesystem"),
    **{
        f"lxd_memory_{name}_bytes": ("gauge", f"The bytes of memory that are {name}")
        for name in (*statistics.MEMORY, "Active", "Inactive", "MemAvailable", "MemFree", "MemTotal", "Swap")
    },
    "lxd_memory_OOM_kills_total": ("counter", "The number of processes ended for want of memory"),
    **{
        f"lxd_network_{way}_{what}_total": ("counter", f"The number of {what} that an interface did {way}")
        for way in ("receive", "transmit")
        for what in ("bytes", "drop", "errs", "packets")
    },
    "lxd_procs_total": ("gauge", "The number of running processes"),
    "lxd_instances": ("gauge", "The number of instances"),
    "lxd_operations_total": ("gauge", "The number of running operations"),
    "lxd_uptime_seconds": ("gauge", "The seconds since the daemon began"),
    "lxd_warnings_total": ("gauge", "The number of active warnings"),
}
"""The type and the meaning of each."""


async def text(parts: Parts, projects: Iterable[str] | None, *, server: bool) -> str:
    """All samples of the projects (None: of all), with those of the server itself if `server` says so."""
    known = parts.measured
    async with known.lock:
        if time.monotonic() - known.taken >= CACHED:
            known.guests = await asyncio.to_thread(_gather, parts, _running(parts))
            known.taken = time.monotonic()
    wanted = known.guests if projects is None else [each for each in projects if each in known.guests]
    found = [known.guests[each] for each in wanted]
    if server:
        found.append(_server(parts, known))
    return await asyncio.to_thread(_joined, found)


def _joined(found: list[Samples]) -> str:
    lines = []
    for name, (kind, meaning) in NAMES.items():
        samples = [line for each in found for line in each.lines.get(name, ())]
        if samples:
            lines += [f"# HELP {name} {meaning}.", f"# TYPE {name} {kind}", *samples]
    return "\n".join([*lines, "# EOF", ""])


def _running(parts: Parts) -> list[tuple[InstanceRecord, Running]]:
    found = ((each, parts.runtime.running(each.project, each.name)) for each in parts.state.instances.all())
    return [(record, running) for record, running in found if running is not None]


def _server(parts: Parts, known: Measured) -> Samples:
    samples = Samples()
    counts: dict[tuple[str, str], int] = {}
    for record in parts.state.instances.all():
        counts[record.project, record.type] = counts.get((record.project, record.type), 0) + 1
    for (project, kind), count in sorted(counts.items()):
        samples.add("lxd_instances", count, {"project": project, "type": kind})
    running = sum(1 for each in parts.operations.all() if each.status is Status.RUNNING)
    samples.add("lxd_operations_total", running, {})
    samples.add("lxd_warnings_total", sum(each.status != "resolved" for each in parts.state.warnings.all()), {})
    samples.add("lxd_uptime_seconds", round(time.monotonic() - known.began, 3), {})
    return samples


def _gather(parts: Parts, guests: list[tuple[InstanceRecord, Running]]) -> dict[str, Samples]:
    found: dict[str, Samples] = {}
    for record, running in guests:
        try:
            used = parts.runtime.statistics(record.project, record.name)
        except NotFound:
            continue
        samples = found.setdefault(record.project, Samples())
        labels = {"name": record.name, "project": record.project, "type": record.type}
        _of_group(samples, used, labels)
        _of_network(samples, running.init, labels)
        _of_root(samples, parts, record, labels)
    return found


def _of_group(samples: Samples, used: statistics.Statistics, labels: Mapping[str, str]) -> None:
    for (cpu, mode), seconds in used.cpu.items():
        samples.add("lxd_cpu_seconds_total", seconds, {"cpu": cpu, "mode": mode, **labels})
    for device, disk in used.disks.items():
        about = {"device": device, **labels}
        samples.add("lxd_disk_read_bytes_total", disk.read_bytes, about)
        samples.add("lxd_disk_reads_completed_total", disk.reads, about)
        samples.add("lxd_disk_written_bytes_total", disk.written_bytes, about)
        samples.add("lxd_disk_writes_completed_total", disk.writes, about)
    memory = dict(used.memory)
    for kind in ("Active", "Inactive"):
        memory[kind] = memory.get(f"{kind}_anon", 0) + memory.get(f"{kind}_file", 0)
    memory["MemTotal"] = min(used.limit or _HOST_MEMORY, _HOST_MEMORY)
    memory["MemFree"] = max(0, memory["MemTotal"] - used.used)
    memory["MemAvailable"] = min(memory["MemTotal"], memory["MemFree"] + memory.get("Cached", 0))
    memory["Swap"] = used.swap
    for kind, size in memory.items():
        samples.add(f"lxd_memory_{kind}_bytes", size, labels)
    samples.add("lxd_memory_OOM_kills_total", used.oom_kills, labels)
    samples.add("lxd_procs_total", used.processes, labels)


def _of_network(samples: Samples, init: int, labels: Mapping[str, str]) -> None:
    for device, counts in statistics.network(init).items():
        about = {"device": device, **labels}
        for way, (size, packets, errors, dropped) in zip(("receive", "transmit"), counts, strict=True):
            samples.add(f"lxd_network_{way}_bytes_total", size, about)
            samples.add(f"lxd_network_{way}_drop_total", dropped, about)
            samples.add(f"lxd_network_{way}_errs_total", errors, about)
            samples.add(f"lxd_network_{way}_packets_total", packets, about)


def _of_root(samples: Samples, parts: Parts, record: InstanceRecord, labels: Mapping[str, str]) -> None:
    try:
        disk = os.statvfs(parts.instance_directory(record.project, record.name) / "rootfs")
    except OSError:
        return
    about = {"mountpoint": "/", **labels}
    samples.add("lxd_filesystem_avail_bytes", disk.f_bavail * disk.f_frsize, about)
    samples.add("lxd_filesystem_free_bytes", disk.f_bfree * disk.f_frsize, about)
    samples.add("lxd_filesystem_size_bytes", disk.f_blocks * disk.f_frsize, about)
