"""Volumes of a pool, as far as instances make them."""

from typing import Any

from hutch.errors import NotFound
from hutch.schema.base import timestamp
from hutch.service.instances import expand, render, volume
from hutch.service.parts import Parts


def all_of(parts: Parts, pool: str, project: str) -> list[dict[str, Any]]:
    """The root volumes of the project's instances that lie in the pool."""
    parts.state.pools.get(pool)
    found = []
    for record in parts.state.instances.all(project):
        root = expand.root_disk(expand.of(parts.state, record)[1])
        if root is None or root[1].get("pool") != pool:
            continue
        found.append(
            {
                "name": record.name,
                "type": "container",
                "pool": pool,
                "project": project,
                "description": record.description,
                "content_type": "filesystem",
                "config": {},
                "created_at": timestamp(record.created_at),
                "location": "none",
                "used_by": [render.url(project, record.name)],
            }
        )
    return found


def one_of(parts: Parts, pool: str, project: str, kind: str, name: str) -> dict[str, Any]:
    for each in all_of(parts, pool, project):
        if each["type"] == kind and each["name"] == name:
            return each
    raise NotFound("Storage volume not found")


async def state(parts: Parts, pool: str, project: str, kind: str, name: str) -> dict[str, Any]:
    one_of(parts, pool, project, kind, name)
    record = parts.state.instances.get(project, name)
    return {"usage": {"used": await volume.pool_of(parts, record).usage(volume.of(record)), "total": 0}}
