"""Managed networks."""

from typing import Any

import msgspec

from hutch.schema.base import Config


class NetworkRecord(msgspec.Struct, kw_only=True, frozen=True):
    name: str
    project: str = "default"
    type: str = "bridge"
    description: str = ""
    config: Config = {}


class NetworkPut(msgspec.Struct, kw_only=True):
    name: str = ""
    type: str = ""
    description: str | None = None
    config: dict[str, Any] | None = None
