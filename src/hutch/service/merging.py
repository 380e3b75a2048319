"""What PUT and PATCH make of a document's description and config: the one replaces, the other merges."""

from typing import Any, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from hutch.schema.base import Config, strings


class Described(Protocol):
    """A record that has both."""

    @property
    def description(self) -> str: ...

    @property
    def config(self) -> Config: ...


class Wanted(Protocol):
    """A request's document; None for what it leaves out."""

    description: str | None
    config: dict[str, Any] | None


Record = TypeVar("Record", bound=Struct)


def merged(record: Record, wanted: Wanted, *, merge: bool) -> Record:
    """The record with what is wanted; keys with an empty value go."""
    old: Described = record  # type: ignore[assignment]  # every record here is one: a type cannot be bound twice
    config = (old.config if merge else {}) | strings(wanted.config)
    kept = wanted.description is None and merge
    return replace(
        record,
        description=old.description if kept else wanted.description or "",
        config={key: value for key, value in config.items() if value != ""},
    )
