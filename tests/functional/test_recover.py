"""The database is lost; what lies on the pools becomes instances and volumes again."""

import shutil
from collections.abc import Callable

from tests.hosts import Host, images
from tests.hosts.waiting import wait_until


def lose_the_database(host: Host) -> None:
    host.kill9()
    shutil.rmtree(host.directory / "database")
    host.start()
    assert host.get("/1.0/instances") == host.get("/1.0/storage-pools") == []


def test_everything_comes_back_after_the_database_was_lost(hosts: Callable[..., Host]) -> None:
    host = hosts()
    host.prepare()
    host.import_image(images.built("busybox"), "busybox")
    host.call("POST", "/1.0/storage-pools", {"name": "b", "driver": "btrfs", "config": {"size": "512MiB"}})
    host.call("POST", "/1.0/projects", {"name": "p", "config": {"features.images": "false"}})
    shared = {"features.images": "false", "features.profiles": "false"}
    host.call("POST", "/1.0/projects", {"name": "q", "config": shared})
    source = {"type": "image", "alias": "busybox"}
    host.call("POST", "/1.0/instances?project=q", {"name": "guest", "source": source})
    volume = "/1.0/storage-pools/default/volumes/custom"
    host.call("POST", volume, {"name": "data", "description": "mine", "config": {"user.a": "1"}})
    host.call("POST", f"{volume}?project=p", {"name": "data"})
    disk = {"data": {"type": "disk", "pool": "default", "source": "data", "path": "/srv"}}
    host.create("runs", "busybox", devices=disk, config={"user.note": "kept"})
    host.exec("runs", "sh", "-c", "echo one > /srv/file; echo one > /root/file")
    host.call("POST", "/1.0/instances/runs/snapshots", {"name": "s"})
    host.call("POST", f"{volume}/data/snapshots", {"name": "s"})
    host.exec("runs", "sh", "-c", "echo two > /srv/file; echo two > /root/file")
    root = {"root": {"type": "disk", "path": "/", "pool": "b"}}
    host.create("rests", "busybox", start=False, devices=root)
    wait_until(lambda: "name: s\n" in _noted(host, "runs"), 30, what="the notes are written")
    wait_until(lambda: "rests" in _noted(host, "rests", "b"), 30, what="the notes are written")

    lose_the_database(host)
    said = host.hutch("admin", "recover", "--yes").stdout

    assert "instance runs (project default, pool default, 1 snapshot)" in said
    assert host.get("/1.0/instances") == ["/1.0/instances/rests", "/1.0/instances/runs"]
    found = host.get("/1.0/instances/runs")
    assert (found["status"], found["config"]["user.note"]) == ("Running", "kept")
    assert host.exec("runs", "cat", "/root/file", "/srv/file").stdout == "two\ntwo\n"
    assert host.get(f"{volume}/data")["description"] == "mine"
    assert host.get(f"{volume}/data/snapshots") == [f"{volume}/data/snapshots/s"]
    assert host.get(f"{volume}?project=p") == [f"{volume}/data?project=p"]
    host.call("PUT", "/1.0/instances/runs", {"restore": "s"})
    assert host.exec("runs", "cat", "/root/file").stdout == "one\n"
    other = host.get("/1.0/instances/guest?project=q")
    assert other["expanded_devices"]["root"] == {"type": "disk", "path": "/", "pool": "default"}
    assert host.get("/1.0/projects/q")["config"]["features.profiles"] == "false"
    host.call("DELETE", "/1.0/instances/guest?project=q")
    host.power("rests", "start")
    assert "Nothing is to be recovered" in host.hutch("admin", "recover").stdout
    for name in ("runs", "rests"):
        host.delete(name)


def _noted(host: Host, name: str, pool: str = "default") -> str:
    pid = host.daemon.pid if host.daemon else 0
    path = f"/proc/{pid}/root{host.directory}/storage-pools/{pool}/volumes/container/default_{name}/backup.yaml"
    return host.run("sh", "-c", f"cat {path} 2>/dev/null || true").stdout


def test_what_cannot_be_recovered_is_named(hosts: Callable[..., Host]) -> None:
    host = hosts()
    host.call("POST", "/1.0/storage-pools", {"name": "default", "driver": "dir"})
    lost = host.directory / "storage-pools/default/volumes/custom/default_lost/tree"
    lost.mkdir(parents=True)
    plain = host.folder / "plain"
    plain.mkdir()

    done = host.hutch("admin", "recover", "--yes", f"other=dir,source={plain}", "none=btrfs", check=False)

    assert "the custom volume 'lost' of pool 'default': nothing tells what it was" in done.stderr
    assert f"there is no storage pool at {plain}" in done.stderr
    assert "the storage pool 'none' cannot be used" in done.stderr
    assert list(plain.iterdir()) == []
    assert host.get("/1.0/storage-pools") == ["/1.0/storage-pools/default"]
