"""Storage pools and volumes."""

from datetime import datetime
from typing import Any

import msgspec

from hutch.schema.base import ZERO_TIME, Config


class PoolRecord(msgspec.Struct, kw_only=True, frozen=True):
    name: str
    driver: str
    description: str = ""
    config: Config = {}


class PoolPut(msgspec.Struct, kw_only=True):
    name: str = ""
    driver: str = ""
    description: str | None = None
    config: dict[str, Any] | None = None


class VolumeRecord(msgspec.Struct, kw_only=True, frozen=True):
    """A volume of a pool. `type` is container, image or custom."""

    name: str
    pool: str
    type: str = "container"
    project: str = "default"
    description: str = ""
    content_type: str = "filesystem"
    config: Config = {}
    created_at: datetime = ZERO_TIME
