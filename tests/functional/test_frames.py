"""Frames for a guest are kept until it is there."""

import json
import sys

from tests.hosts.namespace import Namespace

_TRY = """
import json, socket, time
from hutch.kernel import frames
kept = frames.Kept("02:00:00:00:00:07")
way = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
way.bind(("out", 0))
for last in (7, 8, 7):
    way.send(bytes.fromhex(f"0200000000{last:02x}020000000001" + "88b5") + b"payload" * 8)
there = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
there.bind(("guest", 0x88b5))
there.settimeout(5)
given = kept.give("port", without=("br",))
print(json.dumps([given, [there.recv(100)[:6].hex() for _ in range(given)]]))
"""


def test_frames_to_one_address_are_kept_and_given() -> None:
    """`out` and `port` are the outer ends of two pairs: what is sent on `out` arrives at `in`."""
    namespace = Namespace()
    try:
        for words in (
            "ip link add out type veth peer name in",
            "ip link add port type veth peer name guest",
            *(f"ip link set {link} up" for link in ("out", "in", "port", "guest")),
        ):
            namespace.run(*words.split())
        given, arrived = json.loads(namespace.run(sys.executable, "-c", _TRY).stdout)
    finally:
        namespace.close()
    assert given == 2
    assert arrived == ["020000000007"] * 2
