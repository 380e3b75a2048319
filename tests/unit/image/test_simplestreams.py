"""Catalogues of images: what is chosen of them, and that nothing in them leads astray."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hutch.errors import Invalid, NotFound
from hutch.image import simplestreams
from hutch.image.simplestreams import Entry, choose, documents, entries


def _entry(fingerprint: str, version: str, architecture: str = "x86_64", *aliases: str) -> Entry:
    return Entry(fingerprint, (), architecture, version, aliases or ("debian/12", "debian/bookworm"))


def _document(**item: Any) -> bytes:
    items = {
        "m": {"ftype": "incus.tar.xz", "path": "a/m", "size": 3, **item},
        "r": {"ftype": "squashfs", "path": "a/r", "size": 4},
        "disk": {"ftype": "disk-kvm.img", "path": "a/d", "size": 5},
    }
    product = {"aliases": "box, box/1", "arch": "arm64", "os": "Box", "release": "one", "variant": "default"}
    return json.dumps({"products": {"p": product | {"versions": {"20250101_05:00": {"items": items}}}}}).encode()


def test_a_split_image_is_described_in_full() -> None:
    (entry,) = entries(_document(combined_squashfs_sha256="AB" * 32))
    assert (entry.fingerprint, entry.size, entry.architecture) == ("ab" * 32, 7, "aarch64")
    assert entry.aliases == ("box", "box/1")
    assert [file.path for file in entry.files] == ["a/m", "a/r"]
    assert entry.properties["description"] == "Box one arm64 (20250101_05:00)"


def test_an_image_without_a_fingerprint_is_none() -> None:
    assert list(entries(_document())) == []


def test_the_newest_for_the_first_architecture_is_chosen() -> None:
    known = [
        _entry("a" * 64, "20250101_05:00"),
        _entry("b" * 64, "20250202_05:00"),
        _entry("c" * 64, "20250303_05:00", "i686"),
    ]
    assert choose(known, "debian/12", ["x86_64", "i686"]).fingerprint == "b" * 64
    assert choose(known, "debian/12", ["i686"]).fingerprint == "c" * 64
    assert choose(known, "a" * 12, ["x86_64"]).fingerprint == "a" * 64


@pytest.mark.parametrize(("name", "why"), [("debian/13", "there is no image"), ("a" * 11, "there is no image")])
def test_what_is_not_there_is_named(name: str, why: str) -> None:
    with pytest.raises(NotFound, match=why):
        choose([_entry("a" * 64, "1")], name, ["x86_64"])


@pytest.mark.parametrize("path", ["/etc/passwd", "a/../../b", "https://elsewhere/x", ""])
def test_paths_stay_below_the_server(path: str) -> None:
    index = {"index": {"images": {"path": path, "datatype": "image-downloads"}}}
    with pytest.raises(Invalid, match="invalid path"):
        documents(json.dumps(index).encode())


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda x: (
            st.dictionaries(st.sampled_from(["products", "versions", "items", "p", "path", "index", "ftype"]), x)
            | st.lists(x, max_size=3)
        ),
    )
)
def test_whatever_a_server_sends_is_refused_in_words(document: object) -> None:
    data = json.dumps(document).encode()
    for read in (documents, lambda data: list(simplestreams.entries(data))):
        with contextlib.suppress(Invalid):
            read(data)
