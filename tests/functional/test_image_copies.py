"""Images copied between servers by Debian's lxc: fetched over HTTPS by a secret, or passed on by the client."""

import hashlib
import json
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


@pytest.mark.parametrize("make", [split_image, unified_image])
def test_a_server_sends_its_image_to_another(
    pair: tuple[Host, Host], tmp_path: Path, make: Callable[[Host, Path], str]
) -> None:
    one, two = pair
    fingerprint = make(one, tmp_path)
    one.lxc("image", "set-property", "small", "note", "mine")
    one.lxc("remote", "add", "far", two.hutch("config", "trust", "add", "--name", "one").stdout.split()[-1])
    one.lxc("image", "copy", "small", "far:", "--mode", "push", "--public", "--alias", "sent")
    image = two.get(f"/1.0/images/{fingerprint}")
    assert image["properties"] == {"os": "test", "note": "mine"}
    assert image["public"]
    assert [alias["name"] for alias in image["aliases"]] == ["sent"]
    names = {path.name for path in (two.directory / "images").iterdir()}
    assert names == {path.name for path in (one.directory / "images").iterdir()}


def test_a_secret_lets_in_the_one_image_that_it_was_made_for(pair: tuple[Host, Host], tmp_path: Path) -> None:
    one, two = pair
    path = archives.image(tmp_path / "image", member("rootfs/a", b"b"), compression="zstd")
    fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ApiError, match="whole fingerprint"):
        two.call("POST", "/1.0/images", {"source": {"type": "image", "mode": "push", "fingerprint": "abc"}})
    wanted = {"source": {"type": "image", "mode": "push", "fingerprint": fingerprint}}
    secret = two.api.begin("POST", "/1.0/images", wanted)["metadata"]["metadata"]["secret"]

    def send(of: str, by: str, file: Path = path) -> str:
        headers = ["-H", f"X-LXD-fingerprint: {of}", "-H", f"X-LXD-secret: {by}"]
        words = ["curl", "-sk", *headers, "--data-binary", f"@{file}", f"https://{two.address}:8443/1.0/images"]
        return one.run(*words).stdout

    assert '"error_code":403' in send(fingerprint, "wrong")
    assert '"error_code":403' in send("0" * 64, secret)
    other = archives.image(tmp_path / "other", member("rootfs/a", b"c"))
    begun = json.loads(send(fingerprint, secret, other))
    with pytest.raises(ApiError, match="fingerprints don't match"):
        two.api.wait(begun["operation"])
    assert '"error_code":403' in send(fingerprint, secret)
    assert list((two.directory / "images").iterdir()) == []


def test_sending_to_a_server_that_does_not_want_it_is_told(pair: tuple[Host, Host], tmp_path: Path) -> None:
    one, two = pair
    fingerprint = unified_image(one, tmp_path)
    certificate = two.get("/1.0")["environment"]["certificate"]
    body = {"target": f"https://{two.address}:8443", "certificate": certificate, "secret": "made up"}
    for more, why in (
        ({}, "says: Forbidden"),
        ({"secret": ""}, "with the secret"),
        ({"target": "http://x"}, "https://"),
        ({"target": f"https://{two.address}:1"}, "cannot be sent to"),
    ):
        with pytest.raises(ApiError, match=why):
            one.call("POST", f"/1.0/images/{fingerprint}/export", body | more)
