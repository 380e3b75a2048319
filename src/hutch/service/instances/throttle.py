"""limits.read, .write and .max of disks as settings of control groups: a disk of the machine has one rate for an instance."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

from hutch.errors import NotFound, Unsupported
from hutch.kernel import blockdev
from hutch.schema.base import Config, Devices
from hutch.schema.keys.base import as_bytes
from hutch.service.parts import Parts

_WORDS = ("rbps", "wbps", "riops", "wiops")


async def of(parts: Parts, devices: Devices) -> dict[str, str]:
    """The setting io.max, in version 2's words; nothing when no disk is limited."""
    found: dict[str, dict[str, int]] = {}
    for name, device in devices.items():
        if device.get("type") == "disk" and (rates := _rates(device)):
            disk = await asyncio.to_thread(_disk, name, _place(parts, name, device))
            if not disk:  # a source that is absent and need not be there
                continue
            for word, rate in rates.items():
                known = found.setdefault(disk, {})
                known[word] = min(rate, known.get(word, rate))
    lines = [" ".join([disk, *(f"{word}={rate}" for word, rate in rates.items())]) for disk, rates in found.items()]
    return {"io.max": "\n".join(lines)} if lines else {}


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """What is written to go from one to the other: what is not limited any more is said too."""
    old, new = _parsed(before.get("io.max", "")), _parsed(after.get("io.max", ""))
    lines = [
        " ".join([disk, *(f"{word}={new.get(disk, {}).get(word, 'max')}" for word in _WORDS)])
        for disk in sorted(old.keys() | new.keys())
        if old.get(disk) != new.get(disk)
    ]
    return {"io.max": "\n".join(lines)} if lines else {}


def _parsed(value: str) -> dict[str, dict[str, str]]:
    found = {}
    for line in value.splitlines():
        disk, *words = line.split()
        found[disk] = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    return found


def _rates(device: Config) -> dict[str, int]:
    found: dict[str, int] = {}
    for direction, letter in (("read", "r"), ("write", "w")):
        if value := device.get("limits.max") or device.get(f"limits.{direction}", ""):
            operations = re.fullmatch(r"(\d+)\s*iops", value)
            found[f"{letter}iops" if operations else f"{letter}bps"] = (
                int(operations[1]) if operations else as_bytes(value)
            )
    return found


def _place(parts: Parts, name: str, device: Config) -> Path:
    if pool := device.get("pool"):
        if pool not in parts.pools:
            raise NotFound(f"Storage pool {pool!r} not found")
        return parts.pools[pool].path
    return Path(device.get("source", ""))


def _disk(name: str, path: Path) -> str:
    try:
        disk = blockdev.of(path)
    except FileNotFoundError:
        return ""
    if not disk:
        raise Unsupported(f"device {name!r}: what is at {path} is on no disk of this host: unset its limits")
    return disk
