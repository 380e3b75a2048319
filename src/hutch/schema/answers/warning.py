"""Warnings, as the API shows them."""

from datetime import datetime

from hutch.schema.answers.base import Answer


class Warning(Answer):
    """Something that is wrong: `status` is new, acknowledged or resolved, `severity` low, moderate or high."""

    uuid: str
    location: str
    project: str
    type: str
    count: int
    first_seen_at: datetime
    last_seen_at: datetime
    last_message: str
    severity: str
    status: str
    entity_url: str
