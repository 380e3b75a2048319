"""Gives isolated instances ids of their own, which no other instance of this server has."""

import json

from hutch.device import idmaps
from hutch.errors import Invalid
from hutch.schema.base import Config
from hutch.schema.instance import InstanceRecord
from hutch.service.instances import expand
from hutch.service.parts import Parts

LOCK = "idmaps"
"""Held from the choice of a map until it is recorded."""


def allocate(parts: Parts, record: InstanceRecord, config: Config) -> Config:
    """The volatile values for the map that the instance starts with. Invalid when its ids are another's, or there are none left."""
    fresh: Config = {"volatile.idmap.base": "0"}
    if idmaps.isolated(config):
        size = idmaps.size_of(config)
        fresh["volatile.idmap.base"] = str(_base(parts, record, config, size))
    whole = config | fresh
    mapped = [
        {
            "Isuid": each.kind == "u",
            "Isgid": each.kind == "g",
            "Hostid": each.outside,
            "Nsid": each.inside,
            "Maprange": each.count,
        }
        for each in idmaps.of(whole)
    ]
    return fresh | {"volatile.idmap.current": json.dumps(mapped, separators=(",", ":"))}


def _base(parts: Parts, record: InstanceRecord, config: Config, size: int) -> int:
    others = _ranges(parts, record)
    known = config.get("security.idmap.base") or config.get("volatile.idmap.base", "0")
    if known != "0":
        overlap = [
            name for name, (first, count) in others.items() if first < int(known) + size and int(known) < first + count
        ]
        if not overlap:
            return int(known)
        if config.get("security.idmap.base"):
            raise Invalid(f"security.idmap.base: the {size} ids from {known} on are also the instance {overlap[0]}'s")
    if (found := idmaps.free(size, others.values())) is None:
        raise Invalid(f"no {size} ids are left for the instance {record.name}: give a smaller security.idmap.size")
    return found


def _ranges(parts: Parts, record: InstanceRecord) -> dict[str, tuple[int, int]]:
    """First id and number of ids of every other isolated instance."""
    found = {}
    for each in parts.state.instances.all():
        if (each.project, each.name) != (record.project, record.name):
            config = expand.of(parts.state, each)[0]
            if (base := idmaps.base_of(config)) is not None:
                found[each.name] = (base, idmaps.size_of(config))
    return found
