"""pylxd, the Python client of LXD, on the daemon's Unix socket."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pylxd
import pytest
from pylxd.client import EventType
from pylxd.exceptions import LXDAPIException, NotFound

from tests.hosts import Host, images

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def client(host: Host) -> pylxd.Client:
    return pylxd.Client(endpoint=f"http+unix://{quote(str(host.directory / 'unix.socket'), safe='')}")


@pytest.fixture
def make(host: Host, client: pylxd.Client) -> Iterator[Make]:
    """Makes instances of busybox, deleted after the test."""
    names: list[str] = []

    def create(name: str, *, start: bool = False, **more: Any) -> Any:
        names.append(name)
        source = {"type": "image", "alias": "busybox"}
        made = client.instances.create({"name": name, "source": source, **more}, wait=True)
        if start:
            made.start(wait=True)
        return made

    yield create
    for name in names:
        if host.api.exists(f"/1.0/instances/{name}"):
            host.delete(name)


@pytest.fixture(scope="module")
def running(host: Host, client: pylxd.Client) -> Iterator[Any]:
    host.create("pylxd-shared", "busybox")
    yield client.instances.get("pylxd-shared")
    host.delete("pylxd-shared")


def test_server(client: pylxd.Client) -> None:
    assert client.trusted
    assert client.host_info["environment"]["server"] == "hutch"
    assert client.has_api_extension("instances")
    assert not client.has_api_extension("no-such-extension")


def test_life_of_an_instance(client: pylxd.Client, make: Make) -> None:
    made = make("pylxd-life", config={"user.a": "1"}, ephemeral=False)
    assert made.status == "Stopped"
    assert made.config["user.a"] == "1"
    made.start(wait=True)
    assert made.status == "Running"
    assert made.state().pid > 1
    assert "eth0" in made.state().network
    made.restart(force=True, wait=True)
    made.freeze(wait=True)
    assert made.status == "Frozen"
    made.unfreeze(wait=True)
    made.stop(timeout=20, force=False, wait=True)
    made.rename("pylxd-renamed", wait=True)
    assert not client.instances.exists("pylxd-life")
    renamed = client.instances.get("pylxd-renamed")
    assert renamed.name in [each.name for each in client.instances.all()]
    renamed.delete(wait=True)
    with pytest.raises(NotFound):
        client.instances.get("pylxd-renamed")


def test_the_old_name_for_instances(client: pylxd.Client, running: Any) -> None:
    found = client.containers.get(running.name)
    assert found.status == "Running"
    assert running.name in [each.name for each in client.containers.all()]


def test_failures_are_told(client: pylxd.Client, make: Make) -> None:
    made = make("pylxd-failing")
    with pytest.raises(LXDAPIException, match="already stopped"):
        made.stop(wait=True)
    with pytest.raises(LXDAPIException, match="already exists"):
        make("pylxd-failing")
    with pytest.raises(LXDAPIException, match="not found"):
        client.instances.create({"name": "pylxd-x", "source": {"type": "image", "alias": "no-such-image"}}, wait=True)


def test_saving_settings(client: pylxd.Client, make: Make) -> None:
    made = make("pylxd-saved", start=True)
    made.config["limits.memory"] = "64MiB"
    made.config["user.b"] = "2"
    made.devices["eth1"] = {"type": "nic", "network": "hutchbr0", "name": "eth1"}
    made.description = "by pylxd"
    made.save(wait=True)
    again = client.instances.get("pylxd-saved")
    assert (again.config["user.b"], again.description) == ("2", "by pylxd")
    assert "eth1" in again.state().network
    del again.devices["eth1"]
    del again.config["limits.memory"]
    again.save(wait=True)
    assert "limits.memory" not in client.instances.get("pylxd-saved").config


def test_execute(running: Any) -> None:
    done = running.execute(["sh", "-c", "echo out; echo err >&2; echo $A; exit 3"], environment={"A": "b"})
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out\nb\n", "err\n")
    assert running.execute(["wc", "-c"], stdin_payload="12345").stdout.strip() == "5"
    assert running.execute(["pwd"], cwd="/tmp").stdout == "/tmp\n"
    assert running.execute(["id", "-u"], user=7, group=8).stdout == "7\n"
    assert len(running.execute(["seq", "1", "200000"]).stdout.splitlines()) == 200000


def test_execute_with_handlers(running: Any) -> None:
    chunks: list[str] = []
    done = running.execute(["sh", "-c", "echo one; echo two"], stdout_handler=chunks.append)
    assert done.exit_code == 0
    assert "".join(chunks) == "one\ntwo\n"


def test_files(running: Any, tmp_path: Path) -> None:
    running.files.put("/root/note", b"text", mode=0o640, uid=3, gid=4)
    assert running.files.get("/root/note") == b"text"
    assert running.execute(["stat", "-c", "%a %u %g", "/root/note"]).stdout == "640 3 4\n"
    running.files.mk_dir("/root/folder", mode=0o700)
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "below" / "file").write_text("deep")
    running.files.recursive_put(str(tmp_path / "tree"), "/root/folder")
    (tmp_path / "back").mkdir()
    running.files.recursive_get("/root/folder", str(tmp_path / "back"))
    assert (tmp_path / "back/below/file").read_text() == "deep"
    running.files.delete("/root/note")
    with pytest.raises(NotFound):
        running.files.get("/root/note")


def test_snapshots(client: pylxd.Client, make: Make) -> None:
    made = make("pylxd-snapshots")
    made.files.put("/root/note", b"before")
    taken = made.snapshots.create("s1", stateful=False, wait=True)
    made.files.put("/root/note", b"after")
    made.restore_snapshot("s1", wait=True)
    assert made.files.get("/root/note") == b"before"
    taken.rename("s2", wait=True)
    assert [each.name for each in made.snapshots.all()] == ["s2"]
    image = made.snapshots.get("s2").publish(wait=True)
    image.delete(wait=True)
    made.snapshots.get("s2").delete(wait=True)
    assert made.snapshots.all() == []


def test_copy(client: pylxd.Client, host: Host, make: Make) -> None:
    make("pylxd-origin", config={"user.a": "1"})
    source = {"type": "copy", "source": "pylxd-origin"}
    try:
        copied = client.instances.create({"name": "pylxd-copy", "source": source}, wait=True)
        assert copied.config["user.a"] == "1"
    finally:
        host.delete("pylxd-copy")


def test_images(client: pylxd.Client, make: Make) -> None:
    known = client.images.get_by_alias("busybox")
    assert client.images.get(known.fingerprint).size == images.built("busybox").stat().st_size
    assert client.images.exists("busybox", alias=True)
    assert b"".join(known.export()) == images.built("busybox").read_bytes()
    made = make("pylxd-published")
    image = made.publish(wait=True)
    try:
        image.add_alias("pylxd-image", "an alias")
        assert client.images.get_by_alias("pylxd-image").fingerprint == image.fingerprint
        image.properties["colour"] = "green"
        image.save(wait=True)
        assert client.images.get(image.fingerprint).properties["colour"] == "green"
        image.delete_alias("pylxd-image")
        data = b"".join(image.export())
    finally:
        image.delete(wait=True)
    again = client.images.create(data, wait=True)
    assert again.fingerprint == image.fingerprint
    again.delete(wait=True)


def test_profiles(client: pylxd.Client, make: Make) -> None:
    profile = client.profiles.create("pylxd-p", config={"limits.cpu": "1"}, devices={})
    try:
        profile.config["user.a"] = "1"
        profile.save()
        assert client.profiles.get("pylxd-p").config == {"limits.cpu": "1", "user.a": "1"}
        made = make("pylxd-profiled", profiles=["default", "pylxd-p"])
        assert made.expanded_config["limits.cpu"] == "1"
        assert client.profiles.exists("pylxd-p")
        made.delete(wait=True)
        profile.rename("pylxd-q")
        profile = client.profiles.get("pylxd-q")
    finally:
        profile.delete()
    assert not client.profiles.exists("pylxd-q")


def test_networks(client: pylxd.Client) -> None:
    config = {"ipv4.address": "10.78.0.1/24", "ipv4.nat": "false", "ipv6.address": "none"}
    network = client.networks.create("pylxdbr0", description="a bridge", type="bridge", config=config)
    try:
        assert network.managed
        assert network.config["ipv4.address"] == "10.78.0.1/24"
        network.config["user.a"] = "1"
        network.save()
        assert client.networks.get("pylxdbr0").config["user.a"] == "1"
        assert network.state().addresses[0]["address"] == "10.78.0.1"
        network.rename("pylxdbr1")
        network = client.networks.get("pylxdbr1")
    finally:
        network.delete()
    assert not client.networks.exists("pylxdbr1")


def test_storage_pools(client: pylxd.Client) -> None:
    pool = client.storage_pools.create({"name": "pylxd-pool", "driver": "dir"})
    try:
        assert pool.driver == "dir"
        assert pool.resources.get().space["total"] > 0
        assert pool.volumes.all() == []
        pool.description = "changed"
        pool.save(wait=True)
        assert client.storage_pools.get("pylxd-pool").description == "changed"
    finally:
        pool.delete()
    assert not client.storage_pools.exists("pylxd-pool")


def test_operations_and_events(client: pylxd.Client, make: Make) -> None:
    listener = client.events(event_types={EventType.Lifecycle})
    listener.connect()
    try:
        make("pylxd-heard")
        while not listener.messages:
            assert listener.once()
    finally:
        listener.close_connection()
    assert listener.messages[0]["metadata"]["action"] == "instance-created"
    assert listener.messages[0]["metadata"]["source"] == "/1.0/instances/pylxd-heard"
    assert "success" in client.api.operations.get().json()["metadata"]
