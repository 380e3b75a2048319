"""Messages of DNS (RFC 1035): reads questions, writes zones as a transfer (RFC 5936) wants them."""

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from hutch.errors import Invalid

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33}
AXFR, IXFR = 252, 251
REFUSED, NOT_IMPLEMENTED, BAD_FORM = 5, 4, 1
_IN, _ANSWER, _AUTHORITATIVE = 1, 0x8000, 0x0400
_FULL = 16000


@dataclass(frozen=True)
class Entry:
    """A resource record; `name` is absolute, without the last dot, `value` as zone files write it."""

    name: str
    type: str
    ttl: int
    value: str


@dataclass(frozen=True)
class Question:
    """`raw` is the question as it was asked, which an answer repeats."""

    number: int
    opcode: int
    name: str
    type: int
    raw: bytes


def question(message: bytes) -> Question:
    """Raises Invalid for what is no question."""
    try:
        number, flags, count = struct.unpack_from("!HHH", message)
        name, at = _read_name(message, 12)
        kind, _ = struct.unpack_from("!HH", message, at)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise Invalid("not a question of DNS") from None
    if count != 1 or flags & _ANSWER:
        raise Invalid("not one question of DNS")
    return Question(number, flags >> 11 & 15, name.lower(), kind, message[12 : at + 4])


def _read_name(message: bytes, at: int) -> tuple[str, int]:
    labels = []
    while length := message[at]:
        if length > 63:
            raise IndexError
        labels.append(message[at + 1 : at + 1 + length].decode("ascii"))
        at += length + 1
    return ".".join(labels), at + 1


def answer(asked: Question, entries: Iterable[Entry] = (), *, code: int = 0) -> bytes:
    records = [_record(each) for each in entries]
    flags = _ANSWER | asked.opcode << 11 | (0 if code else _AUTHORITATIVE) | code
    return struct.pack("!HHHHHH", asked.number, flags, 1, len(records), 0, 0) + asked.raw + b"".join(records)


def transfer(asked: Question, soa: Entry, entries: Iterable[Entry]) -> Iterator[bytes]:
    """The messages of a whole zone: its SOA first and last."""
    pending: list[Entry] = []
    size = 0
    for entry in (soa, *entries, soa):
        pending.append(entry)
        size += len(entry.name) + len(entry.value) + 32
        if size > _FULL:
            yield answer(asked, pending)
            pending, size = [], 0
    if pending:
        yield answer(asked, pending)


def name(value: str) -> bytes:
    """A name on the wire, uncompressed."""
    found = b""
    for label in value.rstrip(".").split("."):
        text = label.encode("ascii", "replace")
        if not 0 < len(text) < 64:
            raise Invalid(f"invalid name {value!r}")
        found += bytes([len(text)]) + text
    if len(found) > 254:
        raise Invalid(f"invalid name {value!r}: it is too long")
    return found + b"\0"


def _record(entry: Entry) -> bytes:
    content = data(entry.type, entry.value)
    return name(entry.name) + struct.pack("!HHIH", TYPES[entry.type], _IN, entry.ttl, len(content)) + content


def data(kind: str, value: str) -> bytes:
    """The value of a record on the wire. Invalid when it is none of this type."""
    try:
        return _data(kind, value)
    except (ValueError, struct.error) as error:
        raise Invalid(f"invalid value {value!r} for a record of type {kind}: {error}") from error


def _data(kind: str, value: str) -> bytes:
    words = value.split()
    match kind:
        case "A":
            return IPv4Address(value).packed
        case "AAAA":
            return IPv6Address(value).packed
        case "NS" | "CNAME" | "PTR":
            return name(value)
        case "MX":
            preference, host = words
            return struct.pack("!H", int(preference)) + name(host)
        case "SRV":
            priority, weight, port, host = words
            return struct.pack("!HHH", int(priority), int(weight), int(port)) + name(host)
        case "SOA":
            server, mail, *numbers = words
            return name(server) + name(mail) + struct.pack("!IIIII", *map(int, numbers))
        case "TXT":
            texts = [text.encode() for text in _texts(value)]
            if any(len(text) > 255 for text in texts):
                raise ValueError("a text has at most 255 bytes")
            return b"".join(bytes([len(text)]) + text for text in texts)
    raise ValueError(f"types are {', '.join(sorted(set(TYPES) - {'SOA'}))}")


def _texts(value: str) -> list[str]:
    quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', value)
    return [re.sub(r"\\(.)", r"\1", text) for text in quoted] if value.startswith('"') else [value]
