"""The migration protocol's messages: what is encoded is decoded again, and junk is refused in a sentence."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.errors import Invalid
from hutch.schema import protobuf
from hutch.schema.migration import Control, Header, RsyncFeatures, Setting, SnapshotMessage

numbers = st.integers(-(1 << 63), (1 << 63) - 1)
snapshots = st.builds(
    SnapshotMessage,
    name=st.text(),
    config=st.lists(st.builds(Setting, key=st.text(), value=st.text()), max_size=3),
    profiles=st.lists(st.text(), max_size=3),
    ephemeral=st.booleans(),
    devices=st.just([]),
    architecture=st.integers(0, 20),
    stateful=st.booleans(),
    created=st.none() | numbers,
    last_used=st.none() | numbers,
    expires=st.none() | numbers,
)
features = st.builds(RsyncFeatures, xattrs=st.none() | st.booleans(), links=st.none() | st.booleans())
headers = st.builds(
    Header,
    fs=st.integers(0, 4),
    snapshot_names=st.lists(st.text(), max_size=3),
    snapshots=st.lists(snapshots, max_size=3),
    rsync=st.none() | features,
    refresh=st.none() | st.booleans(),
    volume_size=st.none() | numbers,
)


@given(headers)
def test_a_header_comes_back_as_it_was(header: Header) -> None:
    assert protobuf.decode(protobuf.encode(header), Header) == header


def test_the_bytes_are_those_of_protocol_buffers() -> None:
    # From the encoding guide: field 1 as varint 150 is 08 96 01, field 2 as "testing" is 12 07 74 65 73 74 69 6e 67.
    assert protobuf.encode(Control(success=True, message="testing")) == b"\x08\x01\x12\x07testing"
    assert protobuf.encode(Header(fs=150)) == b"\x08\x96\x01"
    assert protobuf.encode(Header(fs=0, volume_size=-1)) == b"\x08\x00\x58" + b"\xff" * 9 + b"\x01"


def test_fields_of_newer_versions_are_passed_over() -> None:
    newer = b"\xa0\x06\x07" + b"\xaa\x06\x02hi" + b"\xad\x06\x00\x00\x00\x00" + b"\xa9\x06" + bytes(8)
    assert protobuf.decode(newer + protobuf.encode(Control(success=False)), Control) == Control(success=False)


@given(st.binary(max_size=60))
def test_junk_is_a_message_or_refused(data: bytes) -> None:
    with contextlib.suppress(Invalid):
        protobuf.decode(data, Header)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "incomplete"),
        (b"\x08", "cut short"),
        (b"\x08\x00\x22\x05ab", "cut short"),
        (b"\x0a\x01a", "not encoded as one"),
        (b"\x08\x00\x22\x01\xff", "not UTF-8"),
        (b"\x08" + b"\xff" * 11, "too long"),
        (b"\x0b", "wire type 3"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        protobuf.decode(data, Header)
