"""The server's own settings."""

from typing import Any

import msgspec

from hutch.schema.base import Config


class ServerRecord(msgspec.Struct, kw_only=True, frozen=True):
    config: Config = {}


class ServerPut(msgspec.Struct, kw_only=True):
    config: dict[str, Any] | None = None
