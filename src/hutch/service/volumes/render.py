"""Volumes as the API shows them: custom ones by their records, those of instances by theirs."""

from typing import Any
from urllib.parse import quote

from hutch.access.projects import Kind, home
from hutch.errors import Invalid, NotFound
from hutch.schema.base import timestamp
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.keys.base import as_bytes
from hutch.schema.storage import VolumeRecord, VolumeSnapshotRecord
from hutch.service import pools
from hutch.service.instances import expand, volume
from hutch.service.instances import render as instances
from hutch.service.parts import Parts
from hutch.service.volumes import uses
from hutch.storage.base import Volume

TYPES = ("custom", "container", "virtual-machine", "image")


def url(pool: str, project: str, kind: str, name: str, *words: str) -> str:
    """`name` may be VOLUME/SNAPSHOT."""
    name, _, snapshot = name.partition("/")
    parts = ["storage-pools", pool, "volumes", kind, name, *(["snapshots", snapshot] if snapshot else []), *words]
    path = "/".join(["/1.0", *(quote(word, safe="") for word in parts)])
    return path if project == "default" else f"{path}?project={quote(project, safe='')}"


def resources(record: VolumeRecord | VolumeSnapshotRecord) -> dict[str, list[str]]:
    if isinstance(record, VolumeSnapshotRecord):
        whole = url(record.pool, record.project, "custom", f"{record.volume}/{record.name}")
        return {
            "storage_volumes": [url(record.pool, record.project, "custom", record.volume)],
            "storage_volume_snapshots": [whole],
        }
    return {"storage_volumes": [url(record.pool, record.project, "custom", record.name)]}


def document(parts: Parts, record: VolumeRecord) -> dict[str, Any]:
    return _shown(record, record.name) | {"used_by": uses.of(parts, record).urls}


def _shown(record: VolumeRecord | VolumeSnapshotRecord, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "custom",
        "pool": record.pool,
        "project": record.project,
        "description": record.description,
        "content_type": record.content_type,
        "config": record.config,
        "created_at": timestamp(record.created_at),
        "location": "none",
        "used_by": [],
    }


def snapshot_document(record: VolumeSnapshotRecord, name: str = "") -> dict[str, Any]:
    """`name` is how it is called in the list: VOLUME/SNAPSHOT."""
    return {
        "name": name or record.name,
        "description": record.description,
        "config": record.config,
        "content_type": record.content_type,
        "created_at": timestamp(record.created_at),
        "expires_at": timestamp(record.expires_at),
    }


def editable(record: VolumeRecord) -> dict[str, Any]:
    return {"name": record.name, "description": record.description, "config": record.config}


def snapshot_editable(record: VolumeSnapshotRecord) -> dict[str, Any]:
    return {"description": record.description, "expires_at": record.expires_at}


def all_of(parts: Parts, pool: str, project: str | None, kind: str = "") -> list[dict[str, Any]]:
    """Every volume of the pool that the project sees (None: all projects), with snapshots as VOLUME/SNAPSHOT."""
    parts.state.pools.get(pool)
    if kind and kind not in TYPES:
        raise Invalid(f"Invalid storage volume type {kind!r}: {', '.join(TYPES)} are known")
    found: list[dict[str, Any]] = []
    if kind in ("", "custom"):
        place = () if project is None else (home(parts.state, project, Kind.VOLUMES),)
        for record in parts.state.volumes.all(pool, *place):
            found.append(document(parts, record))
            snapshots = parts.state.volume_snapshots.all(pool, record.project, record.name)
            found += [_shown(each, f"{record.name}/{each.name}") for each in snapshots]
    if kind in ("", "container"):
        found += _roots(parts, pool, project)
    return found


def _roots(parts: Parts, pool: str, project: str | None) -> list[dict[str, Any]]:
    """The root volumes of instances that lie in the pool, and of their snapshots."""
    found = []
    for record in parts.state.instances.all(*(() if project is None else (project,))):
        if _pool_of(parts, record) == pool:
            found.append(_root(parts, pool, record, record.name))
            snapshots = parts.state.snapshots.all(record.project, record.name)
            found += [_root(parts, pool, each, f"{record.name}/{each.name}") for each in snapshots]
    return found


def _pool_of(parts: Parts, record: InstanceRecord) -> str:
    root = expand.root_disk(expand.of(parts.state, record)[1])
    return root[1].get("pool", "") if root is not None else ""


def _root(parts: Parts, pool: str, record: InstanceRecord | SnapshotRecord, name: str) -> dict[str, Any]:
    instance = record.instance if isinstance(record, SnapshotRecord) else record.name
    return {
        "name": name,
        "type": "container",
        "pool": pool,
        "project": record.project,
        "description": record.description,
        "content_type": "filesystem",
        "config": {},
        "created_at": timestamp(record.created_at),
        "location": "none",
        "used_by": [instances.url(record.project, instance)],
    }


def one_of(parts: Parts, pool: str, project: str, kind: str, name: str) -> dict[str, Any]:
    """A volume that is not a custom one."""
    for each in all_of(parts, pool, project, kind):
        if each["name"] == name:
            return each
    raise NotFound("Storage volume not found")


async def state(parts: Parts, pool: str, project: str, kind: str, name: str) -> dict[str, Any]:
    """What a volume takes, and how much it may."""
    if kind == "custom":
        custom = parts.state.volumes.get(pool, home(parts.state, project, Kind.VOLUMES), name)
        limit = as_bytes(custom.config.get("size") or "0")
        used = await pools.running(parts, pool).usage(Volume("custom", custom.project, name))
    else:
        one_of(parts, pool, project, kind, name)
        record = parts.state.instances.get(project, name)
        limit = volume.size(expand.of(parts.state, record)[1])
        used = await volume.pool_of(parts, record).usage(volume.of(record))
    return {"usage": {"used": used, "total": limit}}
