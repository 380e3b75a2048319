"""The messages of LXD 5.0's migration protocol, and the documents that begin a migration (api-compat, section 8).

Field numbers from 1000 on are hutch's own: LXD passes over them.
"""

from enum import IntEnum
from typing import ClassVar

import msgspec

from hutch.schema.protobuf import Message


class FileSystem(IntEnum):
    """How the files travel."""

    RSYNC = 0
    BTRFS = 1
    ZFS = 2
    RBD = 3
    BLOCK_AND_RSYNC = 4


class Criu(IntEnum):
    """How the state of a running guest travels; NONE: it is running, and its files are sent a second time at the end."""

    RSYNC = 0
    PHAUL = 1
    NONE = 2


class IdMapping(Message):
    numbers: ClassVar = {"isuid": 1, "isgid": 2, "hostid": 3, "nsid": 4, "maprange": 5}
    isuid: bool
    isgid: bool
    hostid: int
    nsid: int
    maprange: int


class Setting(Message):
    numbers: ClassVar = {"key": 1, "value": 2}
    key: str
    value: str


class DeviceMessage(Message):
    numbers: ClassVar = {"name": 1, "config": 2}
    name: str
    config: list[Setting] = msgspec.field(default_factory=list)


class SnapshotMessage(Message):
    """Dates are seconds since 1970; `created_us` has hutch's microseconds as well. `stream_id` is how a stream names it."""

    numbers: ClassVar = {
        "name": 1,
        "config": 2,
        "profiles": 3,
        "ephemeral": 4,
        "devices": 5,
        "architecture": 6,
        "stateful": 7,
        "created": 8,
        "last_used": 9,
        "expires": 10,
        "created_us": 1000,
        "stream_id": 1001,
    }
    name: str
    ephemeral: bool
    architecture: int
    stateful: bool
    config: list[Setting] = msgspec.field(default_factory=list)
    profiles: list[str] = msgspec.field(default_factory=list)
    devices: list[DeviceMessage] = msgspec.field(default_factory=list)
    created: int | None = None
    last_used: int | None = None
    expires: int | None = None
    created_us: int | None = None
    stream_id: str | None = None


class RsyncFeatures(Message):
    """`links`: hard links and ACLs travel too, which they do not with LXD."""

    numbers: ClassVar = {"xattrs": 1, "delete": 2, "compress": 3, "bidirectional": 4, "links": 1000}
    xattrs: bool | None = None
    delete: bool | None = None
    compress: bool | None = None
    bidirectional: bool | None = None
    links: bool | None = None


class Header(Message):
    """What the source offers, and what the sink takes of it.

    `live` is the version of hutch's own way of moving a running guest; absent where the guest's state does not travel. `stream`
    is what the source's pool can send whole, and `parents` those snapshots at the sink that a stream may build on.
    """

    numbers: ClassVar = {
        "fs": 1,
        "criu": 2,
        "idmap": 3,
        "snapshot_names": 4,
        "snapshots": 5,
        "predump": 7,
        "rsync": 8,
        "refresh": 9,
        "volume_size": 11,
        "index_version": 13,
        "live": 1000,
        "stream": 1001,
        "parents": 1002,
    }
    fs: int
    criu: int | None = None
    idmap: list[IdMapping] = msgspec.field(default_factory=list)
    snapshot_names: list[str] = msgspec.field(default_factory=list)
    snapshots: list[SnapshotMessage] = msgspec.field(default_factory=list)
    predump: bool | None = None
    rsync: RsyncFeatures | None = None
    refresh: bool | None = None
    volume_size: int | None = None
    index_version: int | None = None
    live: int | None = None
    stream: str | None = None
    parents: list[str] = msgspec.field(default_factory=list)


class IndexVolume(msgspec.Struct, kw_only=True):
    name: str = ""
    config: dict[str, str] | None = None


class IndexConfig(msgspec.Struct, kw_only=True):
    """Of LXD's description of what it sends, what matters of volumes."""

    volume: IndexVolume | None = None
    volume_snapshots: list[IndexVolume] | None = None


class Index(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The frame before the data. LXD has its description in it; `files` is what hutch has beside the root, by path."""

    config: IndexConfig | None = None
    files: dict[str, bytes] = {}


class Control(Message):
    """How it ended on one side; the sink's `success` ends a migration."""

    numbers: ClassVar = {"success": 1, "message": 2}
    success: bool
    message: str | None = None


class Target(msgspec.Struct, kw_only=True):
    """Where a source that pushes connects to: an operation's URL, its secrets by name, the server's certificate (PEM)."""

    operation: str = ""
    secrets: dict[str, str] = {}
    certificate: str = ""


class MovePost(msgspec.Struct, kw_only=True):
    """POST to an instance or a snapshot: `name` alone renames, the other members ask for a move."""

    name: str = ""
    migration: bool = False
    live: bool = False
    instance_only: bool = False
    container_only: bool = False
    target: Target | None = None
    pool: str = ""
    project: str = ""
    allow_inconsistent: bool = False
