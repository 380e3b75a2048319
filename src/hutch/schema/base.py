"""What the documents share: names of JSON types, times, and how a document is read and written."""

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from hutch.errors import Invalid

Config = dict[str, str]
Devices = dict[str, dict[str, str]]

ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC)
"""How Go writes a time that was never set; clients print it as "never"."""

Document = TypeVar("Document")


def now() -> datetime:
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with a Z, as Go prints times."""
    text = moment.astimezone(UTC).isoformat() if moment != ZERO_TIME else "0001-01-01T00:00:00"
    return text.replace("+00:00", "") + "Z"


def decode(body: bytes | str, kind: type[Document]) -> Document:
    """The JSON text as a document; Invalid names the member that does not fit."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind, strict=False)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Invalid(f"invalid request body: {error}") from error


def convert(value: Any, kind: type[Document]) -> Document:
    """Plain JSON data as a document; Invalid names the member that does not fit."""
    try:
        return msgspec.convert(value, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"invalid request body: {error}") from error


encode = msgspec.json.encode
to_builtins = msgspec.to_builtins


def strings(values: dict[str, Any] | None) -> Config:
    """A config map as clients send it (numbers, booleans and nulls are met) with every value a string."""
    return {key: _text(value) for key, value in (values or {}).items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
