"""CRIU's images, as far as hutch amends them."""

import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hutch.runtime.lxc import mounts, protobuf, routes, watches

numbers = st.integers(0, 2**64 - 1)
fields = st.lists(st.tuples(st.integers(1, 2**20), numbers | st.binary(max_size=300)))


def written(message: list[tuple[int, int | bytes]]) -> bytes:
    return b"".join(
        protobuf.number(field, value) if isinstance(value, int) else protobuf.text(field, value)
        for field, value in message
    )


@given(fields)
def test_a_message_is_read_as_it_was_written(message: list[tuple[int, int | bytes]]) -> None:
    data = written(message)

    assert [(field, value) for field, value, _ in protobuf.fields(data)] == message
    assert protobuf.changed(data, {}) == data


def test_a_change_reaches_into_a_message_and_fits_its_length() -> None:
    inner = protobuf.text(2, b"x" * 100) + protobuf.number(1, 5)
    data = protobuf.text(3, inner) + protobuf.number(9, 1)

    new = protobuf.changed(data, {3: lambda found: found + protobuf.text(4, b"y" * 100)})

    assert protobuf.first(new, 9) == 1
    held = protobuf.first(new, 3)
    assert isinstance(held, bytes)
    assert protobuf.first(held, 4) == b"y" * 100


def test_the_watches_of_a_descriptor_are_read() -> None:
    text = (
        "pos:\t0\nflags:\t02004000\nmnt_id:\t17\n"
        "inotify wd:3 ino:22239b sdev:4d mask:2c8 ignored_mask:0 fhandle-bytes:8 fhandle-type:f8 f_handle:0001fb1d9b232200\n"
        "fanotify flags:200 event-flags:8000\n"
        "fanotify mnt_id:1f mflags:0 mask:1 ignored_mask:0\n"
        "fanotify ino:e19 sdev:800002 mflags:0 mask:8000100 ignored_mask:0 fhandle-bytes:4 fhandle-type:1 f_handle:190e0000\n"
    )

    assert list(watches.parsed(text)) == [
        watches.Watch(0x4D, 0x22239B, 0xF8, bytes.fromhex("0001fb1d9b232200")),
        watches.Watch(0x800002, 0xE19, 1, bytes.fromhex("190e0000")),
    ]


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _route(*attributes: bytes) -> bytes:
    body = b"".join(attributes)
    return struct.pack("=IHHII", 28 + len(body), 24, 0, 1, 1) + bytes(12) + body


def test_a_route_loses_the_number_of_its_next_hop_only() -> None:
    magic, gateway, odd = b"\x24\x12\x31\x45", _attribute(5, bytes(16)), _attribute(20, b"\0")
    saved = magic + _route(gateway, odd) + _route(_attribute(30, bytes(4)), gateway, odd)

    assert routes.without_nexthop_ids(saved) == magic + _route(gateway, odd) * 2


def _mount(root: bytes, *, follows: int, shared: int = 0) -> bytes:
    return protobuf.text(6, root) + (protobuf.number(10, shared) if shared else b"") + protobuf.number(11, follows)


def test_mounts_of_folders_beside_each_other_follow_nothing(tmp_path: Path) -> None:
    first, second = tmp_path / "mountpoints-13.img", tmp_path / "mountpoints-14.img"
    whole, inner, shared = _mount(b"/", follows=7), _mount(b"/a/b", follows=7), _mount(b"/c", follows=9, shared=4)
    one, two, below = (_mount(root, follows=9) for root in (b"/p/one", b"/p/two.long", b"/p/one/x"))
    first.write_bytes(protobuf.image(b"criumnts", [whole, one, shared]))
    second.write_bytes(protobuf.image(b"criumnts", [inner, two, below]))

    mounts.part_unrelated(tmp_path)

    assert list(protobuf.entries(first.read_bytes())) == [whole, one, shared]
    assert list(protobuf.entries(second.read_bytes())) == [inner, protobuf.text(6, b"/p/two.long"), below]
