"""Processors: sockets, cores, threads and caches."""

import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from hutch.service.resources.read import members, number, text

_CPUS = Path("/sys/devices/system/cpu")


def found() -> dict[str, Any]:
    names = _names()
    sockets: dict[int, dict[tuple[int, int], list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    folders = sorted(_CPUS.glob("cpu[0-9]*"), key=lambda path: int(path.name[3:]))
    isolated = members(text(_CPUS / "isolated"))
    for folder in folders:
        cpu, topology = int(folder.name[3:]), folder / "topology"
        core = (number(topology / "die_id"), number(topology / "core_id"))
        threads = sockets[max(0, number(topology / "physical_package_id"))][core]
        threads.append(
            {
                "id": cpu,
                "numa_node": next((int(node.name[4:]) for node in folder.glob("node[0-9]*")), 0),
                "thread": len(threads),
                "online": text(folder / "online", "1") == "1",
                "isolated": cpu in isolated,
            }
        )
    shown = []
    for socket, cores in sorted(sockets.items()):
        first = next(iter(cores.values()))[0]["id"]
        vendor, model, frequency = names.get(first, ("", "", 0))
        shown.append(
            {
                "name": model,
                "vendor": vendor,
                "socket": socket,
                "cache": _caches(_CPUS / f"cpu{first}" / "cache"),
                "cores": [
                    {"core": core, "die": max(0, die), "threads": threads, "frequency": frequency}
                    for (die, core), threads in sorted(cores.items())
                ],
                "frequency": frequency,
                "frequency_minimum": number(_CPUS / f"cpu{first}/cpufreq/cpuinfo_min_freq") // 1000,
                "frequency_turbo": number(_CPUS / f"cpu{first}/cpufreq/cpuinfo_max_freq") // 1000,
            }
        )
    return {"architecture": os.uname().machine, "sockets": shown, "total": len(folders)}


def _names() -> dict[int, tuple[str, str, int]]:
    """Vendor, model and MHz by number, as /proc/cpuinfo tells them."""
    found = {}
    for block in text(Path("/proc/cpuinfo")).split("\n\n"):
        words = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        if words.get("processor", "").isdigit():
            frequency = int(float(words.get("cpu MHz", "0") or 0))
            found[int(words["processor"])] = (words.get("vendor_id", ""), words.get("model name", ""), frequency)
    return found


def _caches(folder: Path) -> list[dict[str, Any]]:
    found = []
    for index in sorted(folder.glob("index[0-9]*")):
        size = re.fullmatch(r"(\d+)K", text(index / "size"))
        found.append(
            {
                "level": number(index / "level"),
                "type": text(index / "type"),
                "size": int(size[1]) * 1024 if size else 0,
            }
        )
    return found
