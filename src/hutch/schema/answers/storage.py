"""Storage pools and volumes, as the API shows them."""

from datetime import datetime

from hutch.schema.answers.base import Answer, Space
from hutch.schema.base import Config


class StoragePool(Answer):
    name: str
    description: str
    driver: str
    config: Config
    status: str
    locations: list[str]
    used_by: list[str]


class StoragePoolResources(Answer):
    """Bytes and inodes of the filesystem that the pool lies on."""

    space: Space
    inodes: Space


class StorageVolume(Answer):
    """`type` is custom, container, virtual-machine or image."""

    name: str
    type: str
    pool: str
    project: str
    description: str
    content_type: str
    config: Config
    created_at: datetime
    location: str
    used_by: list[str]


class StorageVolumeSnapshot(Answer):
    """`name` is VOLUME/SNAPSHOT in a list."""

    name: str
    description: str
    config: Config
    content_type: str
    created_at: datetime
    expires_at: datetime


class StorageVolumeBackup(Answer):
    name: str
    created_at: datetime
    expires_at: datetime
    volume_only: bool
    optimized_storage: bool


class StorageVolumeState(Answer):
    usage: Space | None
