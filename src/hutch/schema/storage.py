"""Storage pools and volumes."""

from typing import Any

import msgspec

from hutch.schema.base import Config


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
