"""What a backup's index.yaml and backup.yaml say: the records, as LXD writes them."""

from typing import Any

import yaml

from hutch.access.projects import Kind, home
from hutch.schema.backup import BackupConfig, BackupIndex
from hutch.schema.base import to_builtins
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.storage import VolumeRecord, VolumeSnapshotRecord
from hutch.service import pools, profiles
from hutch.service.instances import render
from hutch.service.parts import Parts
from hutch.service.volumes import render as volumes


def instance(parts: Parts, record: InstanceRecord, snapshots: list[SnapshotRecord], pool: str) -> BackupIndex:
    volume = {
        "name": record.name,
        "type": "container",
        "description": "",
        "content_type": "filesystem",
        "config": {},
        "project": record.project,
        "location": "none",
        "used_by": [],
    }
    place = home(parts.state, record.project, Kind.PROFILES)
    known = [parts.state.profiles.find(place, name) for name in record.profiles]
    config = BackupConfig(
        container=render.document(parts, record),
        snapshots=[render.snapshot_document(each) for each in snapshots],
        pool=_pool(parts, pool),
        profiles=[
            profiles.document(parts, each) | {"used_by": [], "project": each.project}
            for each in known
            if each is not None
        ],
        volume=volume,
        volume_snapshots=[
            {"name": each.name, "description": each.description, "config": {}, "content_type": "filesystem"}
            for each in snapshots
        ],
    )
    return _index(parts, record.name, pool, "container", [each.name for each in snapshots], config)


def volume(parts: Parts, record: VolumeRecord, snapshots: list[VolumeSnapshotRecord]) -> BackupIndex:
    config = BackupConfig(
        pool=_pool(parts, record.pool),
        volume=volumes.document(parts, record) | {"used_by": []},
        volume_snapshots=[volumes.snapshot_document(each) for each in snapshots],
    )
    return _index(parts, record.name, record.pool, "custom", [each.name for each in snapshots], config)


def _index(parts: Parts, name: str, pool: str, kind: str, snapshots: list[str], config: BackupConfig) -> BackupIndex:
    backend = parts.state.pools.get(pool).driver
    return BackupIndex(name=name, backend=backend, pool=pool, snapshots=snapshots, type=kind, config=config)


def _pool(parts: Parts, name: str) -> dict[str, Any]:
    return pools.document(parts, parts.state.pools.get(name)) | {"used_by": []}


def text(document: BackupIndex | BackupConfig) -> str:
    """As YAML, without the members that are not set."""
    plain = to_builtins(document)
    config = plain.get("config", plain)
    for key in [key for key, value in config.items() if value is None]:
        del config[key]
    return str(yaml.dump(plain, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True))
