"""Profiles: config and devices that instances share."""

from typing import Any

import msgspec

from hutch.schema.base import Config, Devices


class ProfileRecord(msgspec.Struct, kw_only=True, frozen=True):
    name: str
    project: str = "default"
    description: str = ""
    config: Config = {}
    devices: Devices = {}


class ProfilePut(msgspec.Struct, kw_only=True):
    name: str = ""
    description: str | None = None
    config: dict[str, Any] | None = None
    devices: dict[str, dict[str, Any]] | None = None
