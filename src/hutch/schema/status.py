"""Status codes of the API: below 200 unfinished or a state, 200 and more final."""

from enum import IntEnum


class Status(IntEnum):
    CREATED = 100
    STARTED = 101
    STOPPED = 102
    RUNNING = 103
    CANCELLING = 104
    PENDING = 105
    STARTING = 106
    STOPPING = 107
    ABORTING = 108
    FREEZING = 109
    FROZEN = 110
    THAWED = 111
    ERROR = 112
    READY = 113
    SUCCESS = 200
    FAILURE = 400
    CANCELLED = 401

    @property
    def text(self) -> str:
        """As the API spells it: `Running`, `Operation created` is said by the envelope alone."""
        return self.name.capitalize()

    @property
    def final(self) -> bool:
        return self >= Status.SUCCESS
