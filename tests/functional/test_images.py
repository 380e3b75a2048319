"""Images through the API and through Debian's lxc: in and out, aliases, properties, publishing, and what is refused."""

import hashlib
import io
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from tests import archives
from tests.archives import member
from tests.hosts import Host
from tests.hosts.api import ApiError
from tests.hosts.waiting import wait_until


def sha256(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def stored(host: Host) -> set[str]:
    """The names of the image files."""
    return {path.name for path in (host.directory / "images").iterdir()}


def upload(host: Host, path: Path, **headers: str) -> str:
    """The fingerprint of an image uploaded with the headers (X-LXD-...)."""
    sent = {f"X-LXD-{key}": value for key, value in headers.items()} | {"Content-Type": "application/octet-stream"}
    done = host.call("POST", "/1.0/images", io.BytesIO(path.read_bytes()), headers=sent)
    fingerprint: str = done["metadata"]["fingerprint"]
    return fingerprint


@pytest.fixture
def clean(host: Host) -> Host:
    """The shared host; the images that a test adds go with it."""
    yielded = {url.rpartition("/")[2] for url in host.get("/1.0/images")}
    yield host
    for image in host.get("/1.0/images?recursion=1"):
        if image["fingerprint"] not in yielded:
            host.call("DELETE", f"/1.0/images/{image['fingerprint']}")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An image of a few files, another one for every test."""
    return archives.image(tmp_path / "small.tar.gz", member("rootfs/id", str(tmp_path).encode()), compression="gzip")


@pytest.mark.parametrize("compression", ["none", "gzip", "bzip2", "xz", "lzma", "zstd"])
def test_a_unified_image_comes_in_and_goes_out_unchanged(clean: Host, tmp_path: Path, compression: str) -> None:
    path = archives.image(tmp_path / "image", member("rootfs/c", compression.encode()), compression=compression)
    fingerprint = upload(clean, path, filename="a file", public="1", properties=urlencode({"os": "mine", "x": "a b"}))
    assert fingerprint == sha256(path)
    image = clean.get(f"/1.0/images/{fingerprint[:12]}")
    assert (image["filename"], image["size"], image["public"]) == ("a file", path.stat().st_size, True)
    assert image["properties"] == {"os": "mine", "x": "a b"}
    assert image["architecture"] == "x86_64"
    assert image["created_at"].startswith("2023-11-14T")
    assert (image["type"], image["aliases"], image["profiles"]) == ("container", [], ["default"])
    status, headers, body = clean.api.raw("GET", f"/1.0/images/{fingerprint}/export")
    assert (status, body) == (200, path.read_bytes())
    assert headers["content-disposition"].startswith(f"attachment;filename={fingerprint}.")
    assert int(headers["content-length"]) == len(body)


def test_lxc_imports_shows_changes_exports_and_deletes(clean: Host, small: Path, tmp_path: Path) -> None:
    fingerprint = sha256(small)
    said = clean.lxc("image", "import", str(small), "--alias", "a/b/c", "os=changed", "--public").stdout
    assert fingerprint in said
    assert "a/b/c" in clean.lxc("image", "list", "a/b").stdout
    assert "Fingerprint: " + fingerprint in clean.lxc("image", "info", "a/b/c").stdout
    assert "os: changed" in clean.lxc("image", "show", "a/b/c").stdout
    clean.lxc("image", "set-property", "a/b/c", "key", "value")
    assert clean.lxc("image", "get-property", "a/b/c", "key").stdout == "value\n"
    clean.lxc("image", "unset-property", "a/b/c", "key")
    clean.lxc("image", "edit", "a/b/c", input="public: false\nproperties: {only: this}\n")
    assert clean.get(f"/1.0/images/{fingerprint}")["properties"] == {"only": "this"}
    assert not clean.get(f"/1.0/images/{fingerprint}")["public"]
    clean.lxc("image", "alias", "create", "second", fingerprint[:12])
    clean.lxc("image", "alias", "rename", "second", "third/one")
    assert "third/one" in clean.lxc("image", "alias", "list").stdout
    clean.lxc("image", "alias", "delete", "third/one")
    clean.lxc("image", "export", "a/b/c", str(tmp_path / "out"))
    assert (tmp_path / "out.tar.gz").read_bytes() == small.read_bytes()
    clean.lxc("image", "delete", "a/b/c")
    assert not clean.api.exists(f"/1.0/images/{fingerprint}")
    assert not clean.api.exists(f"/1.0/images/aliases/{quote('a/b/c', safe='')}")
    assert not {name for name in stored(clean) if name.startswith(fingerprint)}


@pytest.mark.parametrize("kind", ["tar.xz", "squashfs"])
def test_lxc_moves_split_images(clean: Host, tmp_path: Path, kind: str) -> None:
    meta = archives.tar(tmp_path / "meta.tar.xz", [member("metadata.yaml", archives.METADATA.encode())], "xz")
    root = tmp_path / f"root.{kind}"
    if kind == "squashfs":
        (tmp_path / "root" / "etc").mkdir(parents=True)
        (tmp_path / "root" / "etc" / "hostname").write_text("x")
        archives.squashfs(root, tmp_path / "root")
    else:
        archives.tar(root, [member("./"), member("./etc/"), member("./etc/hostname", b"x")], "xz")
    fingerprint = sha256(meta, root)
    assert fingerprint in clean.lxc("image", "import", str(meta), str(root), "--alias", f"split-{kind}").stdout
    assert stored(clean) >= {fingerprint, f"{fingerprint}.rootfs"}
    out = tmp_path / "out"
    out.mkdir()
    clean.lxc("image", "export", f"split-{kind}", str(out))
    assert (out / f"meta-{fingerprint}.tar.xz").read_bytes() == meta.read_bytes()
    assert (out / f"{fingerprint}.{kind}").read_bytes() == root.read_bytes()
    clean.create("split", f"split-{kind}", start=False)
    clean.delete("split")


def test_aliases_are_made_changed_renamed_and_deleted(clean: Host, small: Path) -> None:
    fingerprint = upload(clean, small)
    escaped = quote("x/ü y", safe="")
    status, headers, _ = clean.api.raw("POST", "/1.0/images/aliases", {"name": "x/ü y", "target": fingerprint[:8]})
    assert (status, headers["location"]) == (201, f"/1.0/images/aliases/{escaped}")
    assert f"/1.0/images/aliases/{escaped}" in clean.get("/1.0/images/aliases")
    assert clean.get(f"/1.0/images/aliases/{escaped}")["target"] == fingerprint
    assert clean.get("/1.0/images/aliases/x/%C3%BC%20y")["name"] == "x/ü y"
    with pytest.raises(ApiError, match="already exists") as caught:
        clean.call("POST", "/1.0/images/aliases", {"name": "x/ü y", "target": fingerprint})
    assert caught.value.code == 409
    clean.call("PATCH", f"/1.0/images/aliases/{escaped}", {"description": "why"})
    assert clean.get(f"/1.0/images/aliases/{escaped}")["description"] == "why"
    clean.call("POST", f"/1.0/images/aliases/{escaped}", {"name": "new"})
    assert clean.get("/1.0/images/aliases/new")["description"] == "why"
    assert [alias["name"] for alias in clean.get(f"/1.0/images/{fingerprint}")["aliases"]] == ["new"]
    clean.call("DELETE", "/1.0/images/aliases/new")
    for method in ("GET", "DELETE"):
        with pytest.raises(ApiError) as caught:
            clean.call(method, "/1.0/images/aliases/new")
        assert caught.value.code == 404


def test_an_edit_of_an_old_version_is_refused(clean: Host, small: Path) -> None:
    fingerprint = upload(clean, small)
    url = f"/1.0/images/{fingerprint}"
    etag = clean.api.raw("GET", url)[1]["etag"]
    clean.call("PATCH", url, {"properties": {"new": "1"}}, headers={"If-Match": etag})
    assert clean.get(url)["properties"] == {"os": "test", "new": "1"}
    with pytest.raises(ApiError) as caught:
        clean.call("PUT", url, {"properties": {}}, headers={"If-Match": etag})
    assert caught.value.code == 412


def test_fingerprints_are_checked_and_prefixes_resolve_when_unique(clean: Host, small: Path) -> None:
    with pytest.raises(ApiError, match="fingerprints don't match"):
        upload(clean, small, fingerprint="0" * 64)
    fingerprint = upload(clean, small, fingerprint=sha256(small))
    assert clean.get(f"/1.0/images/{fingerprint[:5]}")["fingerprint"] == fingerprint
    with pytest.raises(ApiError, match="already exists"):
        upload(clean, small)
    with pytest.raises(ApiError, match="Image not found") as caught:
        clean.get("/1.0/images/zzz")
    assert caught.value.code == 404
    assert any(
        image["fingerprint"] == fingerprint
        for image in clean.get("/1.0/images?recursion=1&filter=properties.os eq test".replace(" ", "%20"))
    )


BAD = {
    "garbage": (lambda path: path.write_bytes(b"garbage" * 1000), "no known format"),
    "a web page": (lambda path: path.write_bytes(b"<html>404</html>"), "web page"),
    "a zip": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(1000)), "zip"),
    "no metadata": (lambda path: archives.tar(path, [member("rootfs/")], "xz"), "metadata.yaml"),
    "wrong metadata": (lambda path: archives.image(path, metadata="architecture: vax"), "vax"),
    "a device node": (
        lambda path: archives.image(path, member("rootfs/dev/sda", kind=b"4", devmajor=8)),
        "device node 'rootfs/dev/sda'",
    ),
    "a climbing entry": (lambda path: archives.image(path, member("rootfs/../../x", b"x")), "rootfs/../../x"),
    "half an image": (
        lambda path: path.write_bytes(archives.image(path, compression="xz").read_bytes()[:-40]),
        "truncated",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_its_name_and_leaves_nothing(clean: Host, tmp_path: Path, case: str) -> None:
    make, word = BAD[case]
    path = tmp_path / "bad"
    make(path)
    before = stored(clean)
    with pytest.raises(ApiError) as caught:
        upload(clean, path, filename="bad.tar.xz")
    assert caught.value.code == 400
    assert word in caught.value.message
    assert "bad.tar.xz" in caught.value.message
    assert stored(clean) == before
    done = clean.lxc("image", "import", str(path), check=False)
    assert done.returncode == 1
    assert word in done.stderr
    assert stored(clean) == before


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        ({"source": {"type": "moon"}}, 400, "moon"),
        ({"source": {"type": "url", "url": "http://x"}}, 400, "https://"),
        ({"source": {"type": "instance", "name": "nobody"}}, 404, "Instance not found"),
        ({"source": {"type": "snapshot", "name": "nobody/snap"}}, 404, "not found"),
        ({"source": {"type": "image", "fingerprint": "123"}}, 404, "Image not found"),
        ({"source": {"type": "image", "fingerprint": "123", "project": "nowhere"}}, 404, "Image not found"),
        ({"source": 3}, 400, "source"),
        ({"properties": 3}, 400, "properties"),
        ({"source": {"type": "image", "server": "ftp://elsewhere", "fingerprint": "1"}}, 400, "elsewhere"),
    ],
)
def test_bad_wishes_are_answered_with_a_sentence(clean: Host, body: object, code: int, word: str) -> None:
    with pytest.raises(ApiError, match=word) as caught:
        clean.call("POST", "/1.0/images", body)
    assert caught.value.code == code


def test_an_unknown_image_is_told_with_what_there_is(clean: Host) -> None:
    with pytest.raises(ApiError, match=r"'nowhere' not found.*busybox") as caught:
        clean.create("never", "nowhere")
    assert caught.value.code == 404


def test_an_image_for_another_architecture_is_told(clean: Host, tmp_path: Path) -> None:
    path = archives.image(tmp_path / "image", metadata="architecture: riscv64\n")
    clean.call("POST", "/1.0/images/aliases", {"name": "other", "target": upload(clean, path)})
    with pytest.raises(ApiError, match=r"'other' is for riscv64") as caught:
        clean.create("never", "other")
    assert caught.value.code == 400


def test_an_instance_has_the_profiles_of_its_image(clean: Host, small: Path) -> None:
    clean.call("POST", "/1.0/profiles", {"name": "extra", "config": {"user.from": "image"}})
    headers = {"profiles": "profile=default&profile=extra"}
    clean.call("POST", "/1.0/images/aliases", {"name": "with", "target": upload(clean, small, **headers)})
    clean.create("inheritor", "with", start=False)
    assert clean.get("/1.0/instances/inheritor")["profiles"] == ["default", "extra"]
    assert clean.get("/1.0/instances/inheritor")["expanded_config"]["user.from"] == "image"
    clean.delete("inheritor")
    clean.call("DELETE", "/1.0/profiles/extra")


def test_two_launches_at_once_unpack_once(clean: Host, tmp_path: Path) -> None:
    path = archives.image(tmp_path / "image", *(member(f"rootfs/{n}", bytes(200_000)) for n in range(200)))
    fingerprint = upload(clean, path)
    source = {"type": "image", "fingerprint": fingerprint}
    begun = [
        clean.api.begin("POST", "/1.0/instances", {"name": f"twin{n}", "source": source})["operation"] for n in range(3)
    ]
    for operation in begun:
        clean.api.wait(operation)
    unpacked = [line for line in clean.log.read_text().splitlines() if fingerprint in line and "--extract" in line]
    assert len(unpacked) == 1
    for number in range(3):
        clean.delete(f"twin{number}")


def test_publishing_an_instance_and_a_snapshot(clean: Host, guest: Callable[..., str]) -> None:
    name = guest(start=False)
    clean.call("POST", f"/1.0/instances/{name}/snapshots", {"name": "before"})
    clean.power(name, "start")
    clean.exec(name, "sh", "-c", "echo mine > /etc/mark && chown 7:8 /etc/mark && chmod 4750 /etc/mark")
    with pytest.raises(ApiError, match="running"):
        clean.call("POST", "/1.0/images", {"source": {"type": "instance", "name": name}})
    clean.power(name, "stop", force=True)
    clean.lxc("publish", name, "--alias", "published", "kind=copy")
    clean.lxc("publish", f"{name}/before", "--alias", "earlier", "--compression", "gzip -1")
    published, earlier = (clean.get(f"/1.0/images/{_target(clean, alias)}") for alias in ("published", "earlier"))
    assert published["properties"]["kind"] == "copy"
    assert published["properties"]["os"] == "busybox"
    assert earlier["size"] > 100_000
    twin, older = guest("published"), guest("earlier")
    assert clean.exec(twin, "stat", "-c", "%u %g %a", "/etc/mark").stdout == "7 8 4750\n"
    assert clean.exec(twin, "hostname").stdout.strip() == twin
    assert clean.exec(older, "test", "-e", "/etc/mark", check=False).returncode == 1


def _target(host: Host, alias: str) -> str:
    target: str = host.get(f"/1.0/images/aliases/{alias}")["target"]
    return target


def test_deleting_the_image_of_an_instance_leaves_the_instance(clean: Host, tmp_path: Path) -> None:
    path = archives.image(tmp_path / "image", member("rootfs/keep", b"kept"))
    fingerprint = upload(clean, path)
    source = {"type": "image", "fingerprint": fingerprint}
    clean.call("POST", "/1.0/instances", {"name": "orphan", "source": source})
    clean.call("DELETE", f"/1.0/images/{fingerprint}")
    assert clean.api.raw("GET", "/1.0/instances/orphan/files?path=/keep")[2] == b"kept"
    clean.delete("orphan")


def test_a_secret_is_given_for_an_hour(clean: Host, small: Path) -> None:
    fingerprint = upload(clean, small)
    answer = clean.api.begin("POST", f"/1.0/images/{fingerprint}/secret")
    assert answer["metadata"]["class"] == "token"
    assert len(answer["metadata"]["metadata"]["secret"]) == 64


def test_an_upload_that_breaks_off_leaves_nothing(clean: Host, small: Path) -> None:
    import socket

    before = stored(clean)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(clean.directory / "unix.socket"))
        client.sendall(b"POST /1.0/images HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + small.read_bytes())
        time.sleep(0.3)
        assert stored(clean) - before
    deadline = time.monotonic() + 5
    while stored(clean) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert stored(clean) == before


def test_a_full_disk_while_unpacking_is_told_and_leaves_nothing(hosts: Callable[..., Host], tmp_path: Path) -> None:
    host = hosts(lxcfs=False)
    place = tmp_path / "disk"
    place.mkdir()
    host.run("mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(place))
    (host.folder / "pool").mkdir()
    host.call("POST", "/1.0/storage-pools", {"name": "small", "driver": "dir", "config": {"source": str(place)}})
    noise = [member(f"rootfs/{n}", bytes(1 << 20)) for n in range(60)]
    fingerprint = upload(host, archives.image(tmp_path / "image", *noise, compression="zstd"))
    devices = {"root": {"type": "disk", "path": "/", "pool": "small"}}
    wanted = {"name": "c1", "source": {"type": "image", "fingerprint": fingerprint}, "devices": devices}
    with pytest.raises(ApiError, match=r"not enough space|no space left"):
        host.call("POST", "/1.0/instances", wanted)
    assert host.get("/1.0/instances") == []
    left = host.run("find", str(place), "-type", "f").stdout.split()
    assert not [path for path in left if path.rpartition("/")[2].isdigit()]


def test_kill_9_in_the_middle_of_an_import_leaves_nothing_that_stays(
    hosts: Callable[..., Host], tmp_path: Path
) -> None:
    host = hosts(lxcfs=False)
    noise = [member(f"rootfs/{n}", bytes(1 << 20)) for n in range(30)]
    path = archives.image(tmp_path / "image", *noise, compression="xz")
    kept = upload(host, archives.image(tmp_path / "kept"))
    thread = threading.Thread(target=lambda: host.api.raw("POST", "/1.0/images", io.BytesIO(path.read_bytes())))
    thread.start()
    while len(stored(host)) < 3:
        time.sleep(0.005)
    thread.join()
    host.kill9()
    assert any(name.startswith("incoming-") for name in stored(host))
    host.start()
    assert stored(host) == {kept, f"{kept}.contents"}
    assert [url.rpartition("/")[2] for url in host.get("/1.0/images")] == [kept]
    assert upload(host, path) == sha256(path)


def test_json_is_taken_whatever_type_it_is_said_to_be(clean: Host) -> None:
    text = json.dumps({"source": {"type": "moon"}}).encode()
    status, _, body = clean.api.raw("POST", "/1.0/images", text, {"Content-Type": "application/octet-stream"})
    assert status == 400
    assert b"moon" in body


def test_kill_9_in_the_middle_of_an_unpacking_leaves_nothing(hosts: Callable[..., Host], tmp_path: Path) -> None:
    host = hosts(lxcfs=False)
    host.prepare()
    noise = [member(f"rootfs/{n}", random.randbytes(1 << 16)) for n in range(1000)]
    fingerprint = upload(host, archives.image(tmp_path / "image", *noise, compression="zstd"))
    pool = host.directory / "storage-pools" / "default"
    wanted = {"name": "c1", "source": {"type": "image", "fingerprint": fingerprint}}
    host.api.begin("POST", "/1.0/instances", wanted)
    wait_until(lambda: list((pool / "new").rglob("tree/*")), what="the unpacking has begun")
    host.kill9()
    programs = [line for line in host.run("ps", "-e", "-o", "args").stdout.splitlines() if str(pool) in line]
    assert not programs
    host.start()
    assert host.get("/1.0/instances") == []
    wait_until(lambda: not [*(pool / "new").iterdir(), *(pool / "trash").iterdir()], what="the pool is tidy")
    assert not list((pool / "volumes" / "image").iterdir())
    host.create("c1", fingerprint[:12], start=False)
    host.delete("c1")
