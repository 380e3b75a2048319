"""As much of the protocol buffers' encoding as it takes to read and amend CRIU's images.

https://protobuf.dev/programming-guides/encoding
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping

Value = int | bytes
Change = Callable[[bytes], bytes]
_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}


def number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def text(field: int, value: bytes) -> bytes:
    """A string, or a message that is a field of another."""
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def fields(message: bytes) -> Iterator[tuple[int, Value, bytes]]:
    """Each field's number, its value and how it is written."""
    at = 0
    while at < len(message):
        start = at
        key, at = _read(message, at)
        value: Value
        if key & 7 == _VARINT:
            value, at = _read(message, at)
        else:
            size, at = _read(message, at) if key & 7 == _BYTES else (_FIXED[key & 7], at)
            value, at = message[at : at + size], at + size
        yield key >> 3, value, message[start:at]


def first(message: bytes, field: int) -> Value | None:
    """The first value of a field; None when the message has none."""
    return next((value for found, value, _ in fields(message) if found == field), None)


def changed(message: bytes, changes: Mapping[int, Change]) -> bytes:
    """The message with the messages and strings of some fields changed."""
    return b"".join(
        text(field, changes[field](value)) if field in changes and isinstance(value, bytes) else written
        for field, value, written in fields(message)
    )


def entries(image: bytes) -> Iterator[bytes]:
    """The messages of an image: behind two magic numbers each follows its length."""
    at = 8
    while at < len(image):
        (size,) = struct.unpack_from("<I", image, at)
        yield image[at + 4 : at + 4 + size]
        at += 4 + size


def image(like: bytes, messages: Iterable[bytes]) -> bytes:
    """An image that begins with the magic numbers of another and holds these messages."""
    return like[:8] + b"".join(struct.pack("<I", len(each)) + each for each in messages)


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _read(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (message[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not message[at - 1] & 0x80:
            return value, at
