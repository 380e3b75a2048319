"""Warnings: what is wrong with the server and has not been looked at."""

from datetime import datetime

import msgspec

from hutch.schema.base import ZERO_TIME


class WarningRecord(msgspec.Struct, kw_only=True, frozen=True):
    """`entity_url` is the URL of what it is about, empty for the server; `status` is new, acknowledged or resolved; `severity`
    low, moderate or high; `count` how often it was met."""

    uuid: str
    type: str
    severity: str
    project: str = ""
    entity_url: str = ""
    status: str = "new"
    count: int = 1
    first_seen_at: datetime = ZERO_TIME
    last_seen_at: datetime = ZERO_TIME
    last_message: str = ""


class WarningPut(msgspec.Struct, kw_only=True):
    status: str = ""
