"""Protocol buffers (proto2) as far as the messages of LXD's migration need them: numbers, booleans, text, nested messages."""

import types
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar, TypeVar

import msgspec

from hutch.errors import Invalid

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LIMIT = 1 << 64


class Message(msgspec.Struct, kw_only=True):
    """A message; `numbers` gives each member's field number. None is an optional field that is absent."""

    numbers: ClassVar[dict[str, int]] = {}


Kind = TypeVar("Kind", bound=Message)


def encode(message: Message) -> bytes:
    """The message on the wire."""
    encoded = bytearray()
    for name, number in message.numbers.items():
        value = getattr(message, name)
        for each in value if isinstance(value, list) else [] if value is None else [value]:
            encoded += _field(number, each)
    return bytes(encoded)


def _field(number: int, value: Any) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value % _LIMIT)
    data = encode(value) if isinstance(value, Message) else value.encode()
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode(data: bytes, kind: type[Kind]) -> Kind:
    """The message that the bytes are; unknown fields are passed over. Raises Invalid."""
    found: dict[str, Any] = {}
    members = _members(kind)
    for number, value in _fields(data):
        if number not in members:
            continue
        name, type_, many = members[number]
        read = _value(value, type_)
        if many:
            found.setdefault(name, []).append(read)
        else:
            found[name] = read
    try:
        return kind(**found)
    except TypeError as error:
        raise Invalid(f"a {kind.__name__} of the migration protocol is incomplete: {error}") from None


@cache
def _members(kind: type[Message]) -> dict[int, tuple[str, type, bool]]:
    """By field number: the member, its type, and whether it is a list."""
    hints = typing.get_type_hints(kind)
    return {number: (name, *_plain(hints[name])) for name, number in kind.numbers.items()}


def _plain(hint: Any) -> tuple[type, bool]:
    if typing.get_origin(hint) is list:
        return typing.get_args(hint)[0], True
    if typing.get_origin(hint) is types.UnionType:
        return next(each for each in typing.get_args(hint) if each is not type(None)), False
    return hint, False


def _value(value: int | bytes, type_: type) -> Any:
    if issubclass(type_, int):
        if not isinstance(value, int):
            raise Invalid("a number of the migration protocol is not encoded as one")
        return bool(value) if type_ is bool else value - _LIMIT if value >= _LIMIT // 2 else value
    if isinstance(value, int):
        raise Invalid("a text of the migration protocol is encoded as a number")
    if issubclass(type_, Message):
        return decode(value, type_)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Invalid("a text of the migration protocol is not UTF-8") from None


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if wire not in (_FIXED64, _BYTES, _FIXED32):
            raise Invalid(f"a message of the migration protocol has a field of the unknown wire type {wire}")
        if wire == _BYTES:
            size, at = _read_varint(data, at)
        else:
            size = 8 if wire == _FIXED64 else 4
        if at + size > len(data):
            raise Invalid("a message of the migration protocol is cut short")
        yield number, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Invalid("a message of the migration protocol is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value % _LIMIT, at
    raise Invalid("a number of the migration protocol is too long")
