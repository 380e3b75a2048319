"""DNS zones and their records, as the API shows them."""

from hutch.schema.answers.base import Answer
from hutch.schema.base import Config


class Zone(Answer):
    """`used_by` are the networks whose guests are in it."""

    name: str
    description: str
    config: Config
    used_by: list[str]
    project: str


class Entry(Answer):
    type: str
    ttl: int
    value: str


class ZoneRecord(Answer):
    """What was added to a zone under one name."""

    name: str
    description: str
    entries: list[Entry]
    config: Config
