"""Backups of instances and custom volumes, and the documents in their files."""

from datetime import datetime
from typing import Any

import msgspec

from hutch.schema.base import ZERO_TIME


class BackupRecord(msgspec.Struct, kw_only=True, frozen=True):
    """A backup whose file is DIR/backups/FILE. `kind` is container or custom, `pool` that of a custom volume, `owner` the
    instance or volume, `only` says that its snapshots are not in it."""

    kind: str
    pool: str = ""
    project: str
    owner: str
    name: str
    file: str
    created_at: datetime
    expires_at: datetime = ZERO_TIME
    only: bool = False


class BackupPost(msgspec.Struct, kw_only=True):
    """`instance_only`, `container_only` and `volume_only` are three words for the same: without snapshots."""

    name: str = ""
    expires_at: datetime | None = None
    instance_only: bool = False
    container_only: bool = False
    volume_only: bool = False
    optimized_storage: bool = False
    compression_algorithm: str = ""

    @property
    def only(self) -> bool:
        return self.instance_only or self.container_only or self.volume_only


class BackupRename(msgspec.Struct, kw_only=True):
    name: str = ""


class BackupConfig(msgspec.Struct, kw_only=True):
    """What a backup tells of its records, as backup.yaml has it. LXD 6 says `instance` for `container`;
    `project` is hutch's own, in what lies beside volumes."""

    container: dict[str, Any] | None = None
    instance: dict[str, Any] | None = None
    snapshots: list[dict[str, Any]] | None = None
    pool: dict[str, Any] | None = None
    profiles: list[dict[str, Any]] | None = None
    volume: dict[str, Any] | None = None
    volume_snapshots: list[dict[str, Any]] | None = None
    project: dict[str, Any] | None = None

    @property
    def owner(self) -> dict[str, Any] | None:
        return self.container or self.instance


class BackupIndex(msgspec.Struct, kw_only=True):
    """backup/index.yaml. `type` is container, virtual-machine or custom."""

    name: str = ""
    backend: str = ""
    pool: str = ""
    snapshots: list[str] | None = None
    optimized: bool = False
    optimized_header: bool = False
    type: str = ""
    config: BackupConfig | None = None
