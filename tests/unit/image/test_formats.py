"""What a file is, by its first bytes."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.errors import Invalid
from hutch.image.formats import Compression, packer, recognise, recognise_file
from tests import archives


@pytest.mark.parametrize("compression", ["none", "gzip", "bzip2", "xz", "lzma", "zstd"])
def test_a_tar_is_known_by_its_bytes_whatever_its_name(tmp_path: Path, compression: str) -> None:
    path = archives.image(tmp_path / "picture.jpg", compression=compression)
    assert recognise_file(path) == compression


def test_a_tar_older_than_ustar_is_known_by_its_checksum() -> None:
    header = bytearray(512)
    header[0:5] = b"hello"
    header[148:156] = b"%06o\0 " % (sum(header) + 8 * 32)
    assert recognise(bytes(header), 10240) is Compression.NONE


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"", "empty"),
        (b"QFI\xfb" + bytes(600), "virtual machine"),
        (b"PK\x03\x04" + bytes(600), "zip"),
        (b"<!DOCTYPE html>", "web page"),
        (b"hello", "no known format"),
        (bytes(1024), "no known format"),
        (b"hsqs" + bytes(10), "truncated"),
        (b"hsqs" + bytes(36) + (1 << 40).to_bytes(8, "little") + bytes(200), "truncated"),
    ],
)
def test_other_files_are_refused_with_what_they_are(head: bytes, word: str) -> None:
    with pytest.raises(Invalid, match=word):
        recognise(head[:512], len(head))


@given(st.binary(max_size=600))
def test_no_bytes_crash_the_recognition(head: bytes) -> None:
    with suppress(Invalid):
        recognise(head[:512], len(head))


def test_algorithms_take_levels() -> None:
    assert packer("zstd -19").argv[-1] == "-19"
    assert packer("xz -e -9 -T2").argv == ("xz", "-c", "-T0", "-e", "-9", "-T2")
    assert packer("none").compression is Compression.NONE
    assert packer("squashfs -comp zstd -b 256K").argv == ("-comp", "zstd", "-b", "256K")


@pytest.mark.parametrize(
    "text",
    [
        "rot13",
        "gzip --output=/etc/passwd",
        "zstd -o/etc/passwd",
        "none -1",
        "xz /etc/passwd",
        "squashfs -p x",
        "gzip -1 -c;id",
    ],
)
def test_algorithms_take_nothing_that_could_do_harm(text: str) -> None:
    with pytest.raises(Invalid):
        packer(text)
