"""Projects."""

import msgspec

from hutch.schema.base import Config


class ProjectRecord(msgspec.Struct, kw_only=True, frozen=True):
    name: str
    description: str = ""
    config: Config = {}
