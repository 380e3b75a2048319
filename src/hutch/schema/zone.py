"""DNS zones of networks, and records that are added to them by hand."""

from typing import Any

import msgspec

from hutch.schema.base import Config


class ZoneRecord(msgspec.Struct, kw_only=True, frozen=True):
    name: str
    project: str = "default"
    description: str = ""
    config: Config = {}


class ZonePut(msgspec.Struct, kw_only=True):
    name: str = ""
    description: str | None = None
    config: dict[str, Any] | None = None


class DnsEntry(msgspec.Struct, kw_only=True, frozen=True):
    """`ttl` in seconds; 0 for the zone's."""

    type: str = ""
    ttl: int = 0
    value: str = ""


class DnsRecord(msgspec.Struct, kw_only=True, frozen=True):
    zone: str
    name: str
    project: str = "default"
    description: str = ""
    entries: list[DnsEntry] = []
    config: Config = {}


class DnsRecordPut(msgspec.Struct, kw_only=True):
    name: str = ""
    description: str | None = None
    entries: list[DnsEntry] | None = None
    config: dict[str, Any] | None = None
