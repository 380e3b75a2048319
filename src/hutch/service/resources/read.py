"""Reading of small files of /sys and /proc, where any may be missing or refuse."""

import contextlib
import re
from functools import cache
from pathlib import Path

_NAMES = {"pci": "pci.ids", "usb": "usb.ids"}
_PLACES = ("/usr/share/misc", "/usr/share/hwdata", "/var/lib")


def text(path: Path, default: str = "") -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip().strip("\0")
    return default


def number(path: Path, default: int = 0) -> int:
    found = text(path)
    return int(found) if re.fullmatch(r"-?\d+", found) else default


def members(value: str) -> set[int]:
    """`0-3,5` as numbers."""
    found: set[int] = set()
    for word in filter(None, value.split(",")):
        first, _, last = word.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


@cache
def _database(bus: str) -> dict[tuple[str, str], str]:
    """What the host's list of hardware calls (vendor, product); the product is empty for the vendor itself."""
    paths = [Path(place, _NAMES[bus]) for place in _PLACES]
    path = next((each for each in paths if each.exists()), None)
    found: dict[tuple[str, str], str] = {}
    vendor = ""
    for line in path.read_text(errors="replace").splitlines() if path else ():
        if match := re.match(r"([0-9a-f]{4})  (.+)", line):
            vendor = match[1]
            found[vendor, ""] = match[2]
        elif match := re.match(r"\t([0-9a-f]{4})  (.+)", line):
            found[vendor, match[1]] = match[2]
        elif line[:1] not in ("", "\t", "#"):
            break
    return found


def names(bus: str, vendor: str, product: str) -> tuple[str, str]:
    """What vendor and product are called, by their numbers on the bus pci or usb; empty where nobody knows."""
    known = _database(bus)
    return known.get((vendor, ""), ""), known.get((vendor, product), "")
