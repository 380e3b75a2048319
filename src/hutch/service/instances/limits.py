"""limits.* as cgroup settings, in cgroup v2's words (the runtime translates them for v1)."""

import os
import re

from hutch.schema.base import Config
from hutch.schema.keys import instance as keys
from hutch.schema.keys.base import as_bytes


def of(config: Config) -> dict[str, str]:
    """The settings that the expanded config asks for; a limit that is absent is not in it."""
    found: dict[str, str] = {}
    if memory := config.get("limits.memory", ""):
        soft = config.get("limits.memory.enforce") == "soft"
        found["memory.high" if soft else "memory.max"] = str(_memory(memory))
        if not keys.flag(config, "limits.memory.swap"):
            found["memory.swap.max"] = "0"
    if processes := config.get("limits.processes", ""):
        found["pids.max"] = processes
    if cpus := config.get("limits.cpu", ""):
        found["cpuset.cpus"] = _cpus(cpus)
    found |= _cpu_time(config)
    return found


LIFTED = {
    "memory.max": "max",
    "memory.high": "max",
    "memory.swap.max": "max",
    "pids.max": "max",
    "cpu.max": "max 100000",
    "cpu.weight": "100",
    "cpuset.cpus": "",
}
"""What each setting is written as when its limit is taken away."""


def _memory(value: str) -> int:
    if value.endswith("%"):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total * int(value[:-1]) // 100
    return as_bytes(value)


def _cpus(value: str) -> str:
    """A number becomes a set of as many CPUs; a set stays as it is."""
    if not value.isdigit():
        return value
    available = sorted(os.sched_getaffinity(0))
    count = max(1, min(int(value), len(available)))
    return ",".join(map(str, available[:count]))


def _cpu_time(config: Config) -> dict[str, str]:
    found: dict[str, str] = {}
    allowance = config.get("limits.cpu.allowance", "")
    if match := re.fullmatch(r"(\d+)ms/(\d+)ms", allowance):
        found["cpu.max"] = f"{int(match[1]) * 1000} {int(match[2]) * 1000}"
    elif match := re.fullmatch(r"(\d+(?:\.\d+)?)%", allowance):
        found["cpu.weight"] = str(max(1, min(10_000, round(float(match[1])))))
    if priority := config.get("limits.cpu.priority", ""):
        base = int(found.get("cpu.weight", "100"))
        found["cpu.weight"] = str(max(1, base - (10 - int(priority))))
    return found
