"""A guest's routes as CRIU keeps them: what `ip route save` writes, a magic number and netlink messages (rtnetlink(7))."""

import struct
from collections.abc import Iterator
from pathlib import Path

_HEADER, _ROUTE = 16, 12
_NEXTHOP_ID = 30


def use_gateways(images: Path) -> None:
    """Take from each route the number of its next hop, which CRIU does not keep: the gateway itself is there too. Blocks.

    systemd-networkd makes such routes from version 256 on; `ip route restore` refuses them.
    """
    for path in (*images.glob("route-*.img"), *images.glob("route6-*.img")):
        data = path.read_bytes()
        if (new := without_nexthop_ids(data)) != data:
            path.write_bytes(new)


def without_nexthop_ids(saved: bytes) -> bytes:
    return saved[:4] + b"".join(_message(message) for message in _parts(saved[4:], "=I"))


def _message(message: bytes) -> bytes:
    head = _HEADER + _ROUTE
    kept = [each for each in _parts(message[head:], "=H") if struct.unpack_from("=H", each, 2)[0] != _NEXTHOP_ID]
    body = message[4:head] + b"".join(kept)
    return struct.pack("=I", 4 + len(body)) + body


def _parts(data: bytes, length: str) -> Iterator[bytes]:
    """Messages or attributes, each of which begins with its length and is padded to four bytes."""
    at = 0
    while at + 4 <= len(data):
        size = max(4, struct.unpack_from(length, data, at)[0] + 3 & ~3)
        yield data[at : at + size]
        at += size
