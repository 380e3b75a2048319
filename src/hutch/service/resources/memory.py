"""Memory, by node and in huge pages. Sizes are in bytes."""

import re
from pathlib import Path
from typing import Any

from hutch.service.resources.read import text


def found() -> dict[str, Any]:
    whole = _meminfo(Path("/proc/meminfo"))
    nodes = []
    for folder in sorted(Path("/sys/devices/system/node").glob("node[0-9]*")):
        part = _meminfo(folder / "meminfo")
        nodes.append(
            {
                "numa_node": int(folder.name[4:]),
                "hugepages_used": (part.get("HugePages_Total", 0) - part.get("HugePages_Free", 0))
                * whole.get("Hugepagesize", 0),
                "hugepages_total": part.get("HugePages_Total", 0) * whole.get("Hugepagesize", 0),
                "used": part.get("MemUsed", 0),
                "total": part.get("MemTotal", 0),
            }
        )
    huge = whole.get("Hugepagesize", 0)
    return {
        "nodes": nodes,
        "hugepages_total": whole.get("HugePages_Total", 0) * huge,
        "hugepages_used": (whole.get("HugePages_Total", 0) - whole.get("HugePages_Free", 0)) * huge,
        "hugepages_size": huge,
        "used": whole.get("MemTotal", 0) - whole.get("MemAvailable", 0),
        "total": whole.get("MemTotal", 0),
    }


def _meminfo(path: Path) -> dict[str, int]:
    """The values of a meminfo file, in bytes where it gives kB."""
    found = {}
    for line in text(path).splitlines():
        match = re.match(r"(?:Node \d+ )?([\w()]+):\s+(\d+)( kB)?", line)
        if match:
            found[match[1]] = int(match[2]) * (1024 if match[3] else 1)
    return found
