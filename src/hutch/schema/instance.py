"""Instances and their snapshots."""

from datetime import datetime
from typing import Any

import msgspec

from hutch.schema.base import ZERO_TIME, Config, Devices


class InstanceRecord(msgspec.Struct, kw_only=True, frozen=True):
    """What is stored of an instance; what the kernel knows (running, addresses, usage) is read, never stored."""

    name: str
    project: str = "default"
    type: str = "container"
    architecture: str = "x86_64"
    description: str = ""
    ephemeral: bool = False
    stateful: bool = False
    profiles: list[str] = msgspec.field(default_factory=lambda: ["default"])
    config: Config = {}
    devices: Devices = {}
    created_at: datetime = ZERO_TIME
    last_used_at: datetime = ZERO_TIME


class SnapshotRecord(msgspec.Struct, kw_only=True, frozen=True):
    """What is stored of a snapshot. `name` is the part behind the slash, `instance` the part before."""

    name: str
    instance: str
    project: str = "default"
    architecture: str = "x86_64"
    description: str = ""
    ephemeral: bool = False
    stateful: bool = False
    profiles: list[str] = []
    config: Config = {}
    devices: Devices = {}
    expanded_config: Config = {}
    expanded_devices: Devices = {}
    created_at: datetime = ZERO_TIME
    last_used_at: datetime = ZERO_TIME
    expires_at: datetime = ZERO_TIME
    size: int = -1


class Source(msgspec.Struct, kw_only=True):
    """Where a new instance comes from: `type` is image, copy, none, migration or backup."""

    type: str = ""
    alias: str = ""
    fingerprint: str = ""
    properties: dict[str, str] | None = None
    source: str = ""
    project: str = ""
    server: str = ""
    protocol: str = ""
    mode: str = ""
    certificate: str = ""
    secret: str = ""
    instance_only: bool = False
    container_only: bool = False
    refresh: bool = False
    live: bool = False
    allow_inconsistent: bool = False
    base_image: str = msgspec.field(default="", name="base-image")
    operation: str = ""
    secrets: dict[str, str] | None = None


class InstancePost(msgspec.Struct, kw_only=True):
    name: str = ""
    type: str = ""
    architecture: str = ""
    description: str = ""
    ephemeral: bool | None = None
    stateful: bool | None = None
    profiles: list[str] | None = None
    config: dict[str, Any] | None = None
    devices: dict[str, dict[str, Any]] | None = None
    source: Source = msgspec.field(default_factory=Source)
    instance_type: str = ""
    restore: str = ""
    start: bool = False


class RebuildPost(msgspec.Struct, kw_only=True):
    source: Source = msgspec.field(default_factory=Source)


class InstancePut(msgspec.Struct, kw_only=True):
    """PUT replaces; members that are absent count as empty. `restore` names a snapshot to go back to."""

    architecture: str = ""
    description: str = ""
    ephemeral: bool | None = None
    profiles: list[str] | None = None
    config: dict[str, Any] | None = None
    devices: dict[str, dict[str, Any]] | None = None
    restore: str = ""
    stateful: bool | None = None


class StatePut(msgspec.Struct, kw_only=True):
    """`timeout` in seconds, -1 waits for ever."""

    action: str = ""
    timeout: int = 0
    force: bool = False
    stateful: bool = False


class SnapshotPost(msgspec.Struct, kw_only=True):
    name: str = ""
    stateful: bool = False
    expires_at: datetime | None = None
    description: str = ""


class ExecPost(msgspec.Struct, kw_only=True):
    command: list[str] = []
    environment: dict[str, Any] | None = None
    interactive: bool | None = None
    width: int | None = None
    height: int | None = None
    wait_for_websocket: bool | None = msgspec.field(default=None, name="wait-for-websocket")
    record_output: bool | None = msgspec.field(default=None, name="record-output")
    user: int | None = None
    group: int | None = None
    cwd: str | None = None


class ConsolePost(msgspec.Struct, kw_only=True):
    width: int | None = None
    height: int | None = None
    type: str = ""
    force: bool = False
