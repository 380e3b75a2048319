"""Instance types: sizes of machines by the names that clouds give them (`aws:t2.micro`), or in numbers (`c2-m4`).

LXD fetches a list of some thousands from a server; here the common families are known by the rule that they are made by.
"""

import difflib
import math
import re
from collections.abc import Mapping
from functools import cache

from hutch.errors import Invalid
from hutch.schema.base import Config

Size = tuple[float, float]
"""Processors and GiB of memory."""

_SMALL: Mapping[str, Mapping[str, Size]] = {
    "aws": {
        **{
            f"t2.{size}": numbers
            for size, numbers in (("nano", (1.0, 0.5)), ("micro", (1.0, 1.0)), ("small", (1.0, 2.0)))
        },
        **{
            f"{family}.{size}": (2.0, memory)
            for family in ("t3", "t3a", "t4g")
            for size, memory in (("nano", 0.5), ("micro", 1.0), ("small", 2.0))
        },
        **{
            f"{family}.{size}": (cpus, 4 * cpus if size != "medium" else 4.0)
            for family in ("t2", "t3", "t3a", "t4g")
            for size, cpus in (("medium", 2.0), ("large", 2.0), ("xlarge", 4.0), ("2xlarge", 8.0))
        },
    },
    "gce": {
        "f1-micro": (0.2, 0.6),
        "g1-small": (0.5, 1.7),
        "e2-micro": (0.25, 1.0),
        "e2-small": (0.5, 2.0),
        "e2-medium": (1.0, 4.0),
    },
    "azure": {
        **{"Standard_B1ls": (1.0, 0.5), "Standard_B1s": (1.0, 1.0), "Standard_B1ms": (1.0, 2.0)},
        **{"Standard_B2s": (2.0, 4.0), "Standard_B2ms": (2.0, 8.0), "Standard_B4ms": (4.0, 16.0)},
        **{f"Standard_A{cpus}_v2": (float(cpus), 2.0 * cpus) for cpus in (1, 2, 4, 8)},
    },
}
_AWS_SIZES = {"large": 2, "xlarge": 4} | {f"{times}xlarge": 4 * times for times in (2, 4, 8, 9, 12, 16, 18, 24, 32)}
_AWS_FAMILIES = {"m": 4, "c": 2, "r": 8}
_AWS_GENERATIONS = ("4", "5", "5a", "6a", "6g", "6i", "7a", "7g", "7i")
_GCE_FAMILIES = {"n1-standard": 3.75, "n1-highmem": 6.5, "n1-highcpu": 0.9} | {
    f"{family}-{kind}": memory
    for family in ("e2", "n2", "n2d")
    for kind, memory in (("standard", 4.0), ("highmem", 8.0), ("highcpu", 1.0))
}
_AZURE_FAMILIES = {"D": 4, "E": 8, "F": 2}
_COUNTS = (1, 2, 4, 8, 16, 32, 48, 64, 80, 96)


@cache
def _known() -> dict[str, Size]:
    """Every size by PROVIDER:NAME."""
    found = {f"{provider}:{name}": size for provider, sizes in _SMALL.items() for name, size in sizes.items()}
    for family, memory in _AWS_FAMILIES.items():
        for generation in _AWS_GENERATIONS:
            for size, cpus in _AWS_SIZES.items():
                found[f"aws:{family}{generation}.{size}"] = (cpus, memory * cpus)
    for family, each in _GCE_FAMILIES.items():
        found |= {f"gce:{family}-{cpus}": (cpus, each * cpus) for cpus in _COUNTS}
    for family, memory in _AZURE_FAMILIES.items():
        for cpus in _COUNTS:
            for version in ("s_v2",) if family == "F" else ("_v3", "s_v3", "_v4", "s_v4", "_v5", "s_v5"):
                found[f"azure:Standard_{family}{cpus}{version}"] = (cpus, memory * cpus)
    return found


def _size(name: str) -> Size:
    if match := re.fullmatch(r"c(\d+(?:\.\d+)?)(?:-m(\d+(?:\.\d+)?))?|m(\d+(?:\.\d+)?)", name):
        cpus, memory = float(match[1] or 0), float(match[2] or match[3] or 0)
        if cpus > 4096 or memory > 1 << 20 or not (cpus or memory):
            raise Invalid(f"The instance type {name!r} has a size that makes no sense")
        return cpus, memory
    known = _known()
    if name in known:
        return known[name]
    plain = {key.partition(":")[2]: size for key, size in known.items()}
    if name in plain:
        return plain[name]
    near = difflib.get_close_matches(name, [*known, *plain], n=1)
    hint = f"did you mean {near[0]}?" if near else "cCPUS-mGIGABYTES, such as c2-m4, is always known"
    raise Invalid(f"The instance type {name!r} doesn't exist ({hint})")


def limits(name: str) -> Config:
    """The config that a type stands for, as LXD sets it; nothing for no type. Invalid when nobody knows it."""
    if not name:
        return {}
    cpus, memory = _size(name)
    found: Config = {}
    if cpus:
        whole = math.ceil(cpus)
        found["limits.cpu"] = str(whole)
        if cpus < whole:
            found["limits.cpu.allowance"] = f"{int(cpus / whole * 100)}%"
    if memory:
        found["limits.memory"] = f"{int(memory * 1024)}MiB"
    return found
