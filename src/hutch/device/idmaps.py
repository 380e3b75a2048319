"""The id map of an instance, by its expanded config."""

from collections.abc import Iterable

from hutch.kernel.idmap import IdMap, default
from hutch.schema.base import Config
from hutch.schema.keys import instance as keys
from hutch.schema.keys.walls import KEYS, Extent, extents

ISOLATED_FIRST = 1_001_000_000
"""Where isolated maps begin: above the map that the others share."""

_LAST = (1 << 32) - 2


def of(config: Config) -> list[IdMap]:
    """Empty for a privileged guest. An isolated one that has not been given its ids yet has the map that all share: on the
    disk ids are never shifted."""
    if keys.privileged(config):
        return []
    shared = default()
    if (base := base_of(config)) is not None:
        shared = [IdMap(kind, 0, base, size_of(config)) for kind in ("u", "g")]
    return with_extents(shared, extents(config.get("raw.idmap", "")))


def isolated(config: Config) -> bool:
    return keys.flag(config, "security.idmap.isolated") and not keys.privileged(config)


def size_of(config: Config) -> int:
    return int(config.get("security.idmap.size") or KEYS["security.idmap.size"].default)


def base_of(config: Config) -> int | None:
    """The first id of an isolated map; None for a guest that has none, or has not been given one yet."""
    if not isolated(config):
        return None
    return int(config.get("security.idmap.base") or config.get("volatile.idmap.base", "0")) or None


def free(size: int, taken: Iterable[tuple[int, int]]) -> int | None:
    """The lowest first id of so many that none of the ranges (first, count) has; None when there is no room."""
    first = ISOLATED_FIRST
    for start, count in sorted(taken):
        if first + size <= start:
            break
        first = max(first, start + count)
    return first if first + size - 1 <= _LAST else None


def with_extents(shared: list[IdMap], own: list[Extent]) -> list[IdMap]:
    """The map with the lines of raw.idmap in place of what it says of the same ids, the guest's or the host's."""
    found = list(shared)
    for extent in own:
        for kind in extent.kinds:
            cut = IdMap(kind, extent.inside, extent.host, extent.count)
            found = [piece for each in found for piece in _without(each, cut)] + [cut]
    return sorted(found, key=lambda each: (each.kind != "u", each.inside))


def _without(each: IdMap, cut: IdMap) -> list[IdMap]:
    if each.kind != cut.kind:
        return [each]
    gaps = sorted(
        (max(start, 0), min(start + cut.count, each.count))
        for start in (cut.inside - each.inside, cut.outside - each.outside)
        if start < each.count and start + cut.count > 0
    )
    found, at = [], 0
    for first, last in [*gaps, (each.count, each.count)]:
        if first > at:
            found.append(IdMap(each.kind, each.inside + at, each.outside + at, first - at))
        at = max(at, last)
    return found
