"""limits.* as cgroup settings, in cgroup v2's words (the runtime translates them for v1). CPUs are placed in cpus.py."""

import os
import re

from hutch.schema.base import Config
from hutch.schema.keys.base import as_bool, as_bytes, is_bool
from hutch.schema.keys.instance import HUGE_PAGES


def of(config: Config) -> dict[str, str]:
    """The settings that the expanded config asks for; a limit that is absent is not in it."""
    found: dict[str, str] = {}
    if memory := config.get("limits.memory", ""):
        soft = config.get("limits.memory.enforce") == "soft"
        found["memory.high" if soft else "memory.max"] = str(_memory(memory))
    found |= _swap(config)
    if processes := config.get("limits.processes", ""):
        found["pids.max"] = processes
    if priority := config.get("limits.disk.priority", ""):
        found["io.weight"] = f"default {max(10, int(priority) * 100)}"
    for size in HUGE_PAGES:
        if pages := config.get(f"limits.hugepages.{size}", ""):
            found[f"hugetlb.{size}.max"] = str(as_bytes(pages))
    found |= _cpu_time(config)
    return found


LIFTED = {
    "memory.max": "max",
    "memory.high": "max",
    "memory.swap.max": "max",
    "memory.swappiness": "60",
    "pids.max": "max",
    "cpu.max": "max 100000",
    "cpu.weight": "100",
    "io.weight": "default 100",
} | {f"hugetlb.{size}.max": "max" for size in HUGE_PAGES}
"""What each setting is written as when its limit is taken away."""


def _memory(value: str) -> int:
    if value.endswith("%"):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total * int(value[:-1]) // 100
    return as_bytes(value)


def _swap(config: Config) -> dict[str, str]:
    found: dict[str, str] = {}
    swap, priority = config.get("limits.memory.swap", ""), config.get("limits.memory.swap.priority", "")
    if swap and not is_bool(swap):
        found["memory.swap.max"] = str(_memory(swap))
    elif not as_bool(swap, True):
        found["memory.swap.max"] = "0"
        found["memory.swappiness"] = "0"
    if priority and "memory.swappiness" not in found:
        found["memory.swappiness"] = str(50 + int(priority))
    return found


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
