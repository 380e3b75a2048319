"""The server's own settings."""

from typing import Any

import msgspec

from hutch.schema.base import Config


class ServerRecord(msgspec.Struct, kw_only=True, frozen=True):
    """`boot` is the boot id of the host when the daemon last started."""

    config: Config = {}
    boot: str = ""


class ServerPut(msgspec.Struct, kw_only=True):
    config: dict[str, Any] | None = None
