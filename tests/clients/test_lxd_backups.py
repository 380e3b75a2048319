"""Files that a real LXD 5.0.2 exports are taken in here, and ours there: instances and volumes, with snapshots."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import lxdpackage
from tests.hosts import Host, Segment, images
from tests.hosts.lxd import Lxd

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("lxc") is None, reason="Debian's lxd-client is not installed"),
]


@pytest.fixture
def lxd(segment: Segment) -> Iterator[Lxd]:
    try:
        lxdpackage.unpacked()
    except lxdpackage.Missing as missing:
        pytest.skip(str(missing))
    with Lxd(segment) as made:
        made.lxc("image", "import", str(images.built("busybox")), "--alias", "busybox")
        yield made


def write(client: Host | Lxd, folder: Path, name: str, text: str) -> None:
    (folder / "note").write_text(text)
    client.lxc("file", "push", "--uid", "7", "--gid", "8", "--mode", "0640", str(folder / "note"), f"{name}/root/note")


def read(client: Host | Lxd, folder: Path, name: str) -> str:
    client.lxc("file", "pull", f"{name}/root/note", str(folder / "pulled"))
    return (folder / "pulled").read_text()


def snapshots(client: Host | Lxd, name: str) -> list[str]:
    return sorted(url.rpartition("/")[2] for url in client.api.get(f"/1.0/instances/{name}/snapshots"))


def make(client: Host | Lxd, folder: Path) -> None:
    client.lxc("init", "busybox", "c1", "-c", "user.note=kept")
    for text in ("one", "two"):
        write(client, folder, "c1", text)
        client.lxc("snapshot", "c1", text)
    write(client, folder, "c1", "now")
    client.lxc("storage", "volume", "create", "default", "data", "user.a=1")
    client.lxc("storage", "volume", "snapshot", "default", "data", "s")


def check(client: Host | Lxd, folder: Path) -> None:
    assert snapshots(client, "c1") == ["one", "two"]
    assert client.api.get("/1.0/instances/c1")["config"]["user.note"] == "kept"
    assert read(client, folder, "c1") == "now"
    client.lxc("restore", "c1", "one")
    assert read(client, folder, "c1") == "one"
    found: dict[str, Any] = client.api.get("/1.0/storage-pools/default/volumes/custom/data")
    assert found["config"]["user.a"] == "1"
    assert len(client.api.get("/1.0/storage-pools/default/volumes/custom/data/snapshots")) == 1


def test_what_lxd_exports_is_taken_in_here(lxd: Lxd, hosts: Callable[..., Host]) -> None:
    here = hosts()
    here.prepare()
    make(lxd, lxd.folder)
    lxd.lxc("export", "c1", str(lxd.folder / "c1.tar.gz"))
    lxd.lxc("export", "c1", str(lxd.folder / "only.tar.xz"), "--instance-only", "--compression", "xz")
    lxd.lxc("storage", "volume", "export", "default", "data", str(lxd.folder / "data.tar.gz"))

    here.hutch("import", str(lxd.folder / "c1.tar.gz"))
    here.hutch("import", str(lxd.folder / "only.tar.xz"), "only")
    here.hutch("storage", "volume", "import", "default", str(lxd.folder / "data.tar.gz"))

    check(here, here.folder)
    assert snapshots(here, "only") == []
    here.power("c1", "start")
    assert here.exec("c1", "stat", "-c", "%u %g %a", "/root/note", "/bin").stdout == "7 8 640\n0 0 755\n"


def test_what_is_exported_here_is_taken_in_by_lxd(lxd: Lxd, hosts: Callable[..., Host]) -> None:
    here = hosts()
    here.call("POST", "/1.0/storage-pools", {"name": "default", "driver": "overlay"})
    root = {"root": {"type": "disk", "path": "/", "pool": "default"}}
    here.call("PUT", "/1.0/profiles/default", {"config": {}, "devices": root})
    here.import_image(images.built("busybox"), "busybox")
    make(here, here.folder)
    here.hutch("export", "c1", str(here.folder / "c1.tar.gz"), "--compression", "gzip")
    here.hutch("export", "c1", str(here.folder / "only.tar.zst"), "--instance-only")
    here.hutch("storage", "volume", "export", "default", "data", str(here.folder / "data.tar.zst"))

    lxd.lxc("import", str(here.folder / "c1.tar.gz"))
    lxd.lxc("import", str(here.folder / "only.tar.zst"), "only")
    lxd.lxc("storage", "volume", "import", "default", str(here.folder / "data.tar.zst"))

    check(lxd, lxd.folder)
    assert snapshots(lxd, "only") == []
    lxd.lxc("start", "c1")
    assert lxd.lxc("exec", "c1", "--", "stat", "-c", "%u %g %a", "/root/note").stdout == "7 8 640\n"
