"""Projects."""

from typing import Any

import msgspec

from hutch.schema.base import Config


class ProjectRecord(msgspec.Struct, kw_only=True, frozen=True):
    name: str
    description: str = ""
    config: Config = {}


class ProjectPut(msgspec.Struct, kw_only=True):
    """What can be written of a project; `name` is for creation and renaming."""

    name: str = ""
    description: str | None = None
    config: dict[str, Any] | None = None
