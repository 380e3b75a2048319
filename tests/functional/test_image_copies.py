"""Images copied between servers by Debian's lxc: fetched over HTTPS by a secret, or passed on by the client."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import archives
from tests.archives import member
from tests.hosts import Host, Segment
from tests.hosts.api import ApiError


@pytest.fixture
def pair(segment: Segment, hosts: Callable[..., Host]) -> tuple[Host, Host]:
    """Two hosts on one wire that serve HTTPS; the first has an image `small` and knows the second as `other`."""
    one, two = (hosts(segment=segment, lxcfs=False) for _ in range(2))
    for host in (one, two):
        host.call("PATCH", "/1.0", {"config": {"core.https_address": f"{host.address}:8443"}})
    one.lxc("remote", "add", "other", f"unix://{two.directory}/unix.socket")
    return one, two


def split_image(host: Host, folder: Path) -> str:
    meta = archives.tar(folder / "meta", [member("metadata.yaml", archives.METADATA.encode())], "xz")
    root = archives.tar(folder / "root", [member("./"), member("./a", b"b")], "gzip")
    host.lxc("image", "import", str(meta), str(root), "--alias", "small")
    found: str = host.get("/1.0/images/aliases/small")["target"]
    return found


def unified_image(host: Host, folder: Path) -> str:
    return host.import_image(archives.image(folder / "image", member("rootfs/a", b"b"), compression="zstd"), "small")


@pytest.mark.parametrize("make", [split_image, unified_image])
def test_a_private_image_is_fetched_with_what_it_says(
    pair: tuple[Host, Host], tmp_path: Path, make: Callable[[Host, Path], str]
) -> None:
    one, two = pair
    fingerprint = make(one, tmp_path)
    one.lxc("image", "set-property", "small", "note", "mine")
    one.lxc("image", "copy", "small", "other:", "--copy-aliases", "--alias", "also")
    image = two.get(f"/1.0/images/{fingerprint}")
    assert image["properties"] == {"os": "test", "note": "mine"}
    assert {alias["name"] for alias in image["aliases"]} == {"small", "also"}
    assert image["update_source"]["server"] == f"https://{one.address}:8443"
    names = {path.name for path in (two.directory / "images").iterdir()}
    assert names == {path.name for path in (one.directory / "images").iterdir()}


def test_the_client_can_pass_an_image_on(pair: tuple[Host, Host], tmp_path: Path) -> None:
    one, two = pair
    fingerprint = unified_image(one, tmp_path)
    one.lxc("image", "copy", "small", "other:", "--mode", "relay", "--public")
    assert two.get(f"/1.0/images/{fingerprint}")["public"]


def test_what_cannot_be_fetched_is_told_and_leaves_nothing(pair: tuple[Host, Host], tmp_path: Path) -> None:
    one, two = pair
    fingerprint = unified_image(one, tmp_path)
    server, own = f"https://{one.address}:8443", two.get("/1.0")["environment"]["certificate"]
    right = one.get("/1.0")["environment"]["certificate"]
    wrong = {
        "no trust without a secret": ({"server": server, "certificate": right}, "not found"),
        "another certificate": ({"server": server, "certificate": own}, "another certificate"),
        "no authority": ({"server": server}, "cannot be fetched|certificate"),
        "nobody there": ({"server": f"https://{one.address}:1", "certificate": right}, "cannot be fetched"),
        "no such protocol": ({"server": server, "protocol": "gopher"}, "gopher"),
        "no such server": ({"server": "ftp://x"}, "https://HOST:PORT"),
    }
    for source, word in wrong.values():
        body = {"source": {"type": "image", "mode": "pull", "fingerprint": fingerprint, **source}}
        with pytest.raises(ApiError, match=word):
            two.call("POST", "/1.0/images", body)
    assert list((two.directory / "images").iterdir()) == []


def test_pushing_is_refused_with_another_way(pair: tuple[Host, Host], tmp_path: Path) -> None:
    one, _ = pair
    unified_image(one, tmp_path)
    assert "--mode=relay" in one.lxc("image", "copy", "small", "other:", "--mode", "push", check=False).stderr
