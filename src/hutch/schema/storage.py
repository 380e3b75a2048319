"""Storage pools and volumes."""

from datetime import datetime
from typing import Any

import msgspec

from hutch.schema.base import ZERO_TIME, Config
from hutch.schema.migration import Target


class PoolRecord(msgspec.Struct, kw_only=True, frozen=True):
    """`pending` while it is being made: one that still is when the daemon starts is taken back."""

    name: str
    driver: str
    description: str = ""
    config: Config = {}
    pending: bool = False


class PoolPut(msgspec.Struct, kw_only=True):
    name: str = ""
    driver: str = ""
    description: str | None = None
    config: dict[str, Any] | None = None


class RecoverPost(msgspec.Struct, kw_only=True):
    """The pools to look for, besides those that are known or left a note."""

    pools: list[PoolPut] = msgspec.field(default_factory=list, name="Pools")


class VolumeRecord(msgspec.Struct, kw_only=True, frozen=True):
    """A custom volume. One of content_type block or iso is a tree with the file `root.img` in it."""

    pool: str
    project: str
    name: str
    description: str = ""
    config: Config = {}
    content_type: str = "filesystem"
    created_at: datetime = ZERO_TIME


class VolumeSnapshotRecord(msgspec.Struct, kw_only=True, frozen=True):
    pool: str
    project: str
    volume: str
    name: str
    description: str = ""
    config: Config = {}
    content_type: str = "filesystem"
    created_at: datetime = ZERO_TIME
    expires_at: datetime = ZERO_TIME


class VolumeSource(msgspec.Struct, kw_only=True):
    """Where a new volume comes from; `name` is VOLUME or VOLUME/SNAPSHOT."""

    type: str = ""
    name: str = ""
    pool: str = ""
    project: str = ""
    volume_only: bool = False
    refresh: bool = False
    mode: str = ""
    operation: str = ""
    certificate: str = ""
    secrets: dict[str, str] | None = None


class VolumePost(msgspec.Struct, kw_only=True):
    name: str = ""
    type: str = ""
    content_type: str = ""
    description: str = ""
    config: dict[str, Any] | None = None
    source: VolumeSource = msgspec.field(default_factory=VolumeSource)


class VolumePut(msgspec.Struct, kw_only=True):
    description: str | None = None
    config: dict[str, Any] | None = None
    restore: str = ""


class VolumeMove(msgspec.Struct, kw_only=True):
    """A new name, pool or project for a volume, or a new name for a snapshot."""

    name: str = ""
    pool: str = ""
    project: str = ""
    migration: bool = False
    volume_only: bool = False
    target: Target | None = None


class VolumeSnapshotPost(msgspec.Struct, kw_only=True):
    name: str = ""
    description: str = ""
    expires_at: datetime | None = None


class VolumeSnapshotPut(msgspec.Struct, kw_only=True):
    description: str | None = None
    expires_at: datetime | None = None
