"""Sources that keep their files with shifted ids: LXD does where it cannot mount them shifted. Here they are stored unshifted."""

from collections.abc import Iterable

import msgspec

from hutch.kernel.idmap import IdMap
from hutch.schema.base import decode
from hutch.schema.migration import Header, IdMapping

_LAST = "volatile.last_state.idmap"


class _Entry(msgspec.Struct, kw_only=True, rename="pascal"):
    """A line of the map that LXD notes in an instance's config; the names are Go's."""

    isuid: bool
    isgid: bool
    hostid: int
    nsid: int
    maprange: int


def idmap(offered: Header, snapshot: str = "") -> list[IdMap]:
    """How the ids of the root that is sent are to be read: empty for as they are. A snapshot has its own map."""
    for each in offered.snapshots:
        last = next((setting.value for setting in each.config if setting.key == _LAST), "")
        if snapshot and each.name == snapshot and last:
            return noted(last)
    return _extents(offered.idmap)


def noted(text: str) -> list[IdMap]:
    """The map that an LXD noted in a config: empty for none, and for ids as they are."""
    return _extents(decode(text, list[_Entry])) if text else []


def _extents(entries: Iterable[IdMapping | _Entry]) -> list[IdMap]:
    found = [
        IdMap(kind, each.nsid, each.hostid, each.maprange)
        for each in entries
        for kind, wanted in (("u", each.isuid), ("g", each.isgid))
        if wanted
    ]
    return [] if all(each.inside == each.outside for each in found) else found
