"""Maps between a guest's user and group ids and the host's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_BASE = 1_000_000
DEFAULT_COUNT = 1_000_000_000
OVERFLOW = 65534


@dataclass(frozen=True)
class IdMap:
    """Ids from `inside` on are host ids from `outside` on, `count` of them; `kind` is "u" or "g"."""

    kind: str
    inside: int
    outside: int
    count: int


def default() -> list[IdMap]:
    """The map of every guest that asks for nothing else: 0 is host id 1000000, users and groups alike."""
    return [IdMap(kind, 0, DEFAULT_BASE, DEFAULT_COUNT) for kind in ("u", "g")]


def to_host(idmap: Iterable[IdMap], kind: str, inside: int) -> int | None:
    """The host id that stands for a guest's; None when the map has no place for it. An empty map is the identity."""
    extents = [extent for extent in idmap if extent.kind == kind]
    if not extents:
        return inside
    for extent in extents:
        if extent.inside <= inside < extent.inside + extent.count:
            return extent.outside + inside - extent.inside
    return None


def from_host(idmap: Iterable[IdMap], kind: str, outside: int) -> int:
    """The guest's id for a host's; what the map has no place for is the overflow id, as the guest itself sees it."""
    inside = _inside(idmap, kind, outside)
    return OVERFLOW if inside is None else inside


def has_host(idmap: Iterable[IdMap], kind: str, outside: int) -> bool:
    """Whether a host's id is anybody in the guest."""
    return _inside(idmap, kind, outside) is not None


def _inside(idmap: Iterable[IdMap], kind: str, outside: int) -> int | None:
    extents = [extent for extent in idmap if extent.kind == kind]
    if not extents:
        return outside
    for extent in extents:
        if extent.outside <= outside < extent.outside + extent.count:
            return extent.inside + outside - extent.outside
    return None


def of_process(pid: int) -> list[IdMap]:
    """The map of the user namespace that a process is in; empty when that is the host's own. Blocks."""
    found = []
    for kind, name in (("u", "uid_map"), ("g", "gid_map")):
        for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
            found.append(IdMap(kind, *map(int, line.split())))
    return [] if all(each.inside == each.outside == 0 and each.count == 0xFFFF_FFFF for each in found) else found


def proc_lines(idmap: Sequence[IdMap], kind: str) -> str:
    """The map as /proc/PID/uid_map and gid_map take it."""
    return "".join(f"{e.inside} {e.outside} {e.count}\n" for e in idmap if e.kind == kind)
