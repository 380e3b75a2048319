"""An instance gets a new root and stays what it was otherwise; whatever happens meanwhile, it has a whole one."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.hosts import ApiError, Host

Maker = Callable[..., str]


@pytest.fixture(scope="module")
def other(host: Host) -> Iterator[str]:
    """Another image: busybox with a file more and a property of its own."""
    host.create("origin", "busybox")
    host.exec("origin", "sh", "-c", "echo other > /etc/which; sync")
    host.power("origin", "stop", force=True)
    host.call(
        "POST",
        "/1.0/images",
        {
            "source": {"type": "instance", "name": "origin"},
            "aliases": [{"name": "other"}],
            "properties": {"colour": "green", "os": "busybox"},
        },
    )
    host.delete("origin")
    yield "other"
    host.call("DELETE", f"/1.0/images/{host.get('/1.0/images/aliases/other')['target']}")


def _rebuild(host: Host, name: str, image: str) -> None:
    host.call("POST", f"/1.0/instances/{name}/rebuild", {"source": {"type": "image", "alias": image}})


def test_the_root_is_new_and_the_rest_is_as_it_was(host: Host, guest: Maker, other: str) -> None:
    name = guest(config={"limits.processes": "77", "user.note": "mine"})
    host.exec(name, "touch", "/root/old")
    before = host.get(f"/1.0/instances/{name}")
    host.power(name, "stop", force=True)
    _rebuild(host, name, other)
    after = host.get(f"/1.0/instances/{name}")
    kept = ("volatile.uuid", "volatile.eth0.hwaddr", "limits.processes", "user.note")
    assert [after["config"][key] for key in kept] == [before["config"][key] for key in kept]
    assert after["created_at"] == before["created_at"]
    assert after["config"]["image.colour"] == "green"
    assert after["config"]["volatile.base_image"] == host.get("/1.0/images/aliases/other")["target"]
    host.power(name, "start")
    assert host.exec(name, "cat", "/etc/which").stdout == "other\n"
    assert host.exec(name, "test", "-e", "/root/old", check=False).returncode == 1
    assert host.exec(name, "cat", "/etc/hostname").stdout == f"{name}\n"


def test_an_empty_root(host: Host, guest: Maker) -> None:
    name = guest(start=False)
    host.hutch("rebuild", "--empty", name)
    assert "volatile.base_image" not in host.get(f"/1.0/instances/{name}")["config"]
    assert host.api.raw("GET", f"/1.0/instances/{name}/files?path=/etc/passwd")[0] == 404


@pytest.mark.parametrize("client", ["hutch", "incus"])
def test_clients_rebuild_a_running_instance(host: Host, guest: Maker, other: str, client: str) -> None:
    name = guest()
    run = host.hutch if client == "hutch" else host.incus
    assert run("rebuild", other, name, check=False).returncode != 0
    run("rebuild", other, name, "--force")
    assert host.exec(name, "cat", "/etc/which").stdout == "other\n"


def test_what_cannot_be_rebuilt_is_refused(host: Host, guest: Maker) -> None:
    name = guest()
    with pytest.raises(ApiError, match="must be stopped") as refused:
        _rebuild(host, name, "busybox")
    assert refused.value.code == 409
    host.power(name, "stop", force=True)
    with pytest.raises(ApiError, match="not found"):
        _rebuild(host, name, "no-such-image")
    host.call("POST", f"/1.0/instances/{name}/snapshots", {"name": "one"})
    with pytest.raises(ApiError, match="with snapshots"):
        _rebuild(host, name, "busybox")
    with pytest.raises(ApiError, match="source of type 'copy'"):
        host.call("POST", f"/1.0/instances/{name}/rebuild", {"source": {"type": "copy"}})


def test_a_daemon_killed_meanwhile_leaves_a_whole_root(host: Host, guest: Maker, other: str) -> None:
    name = guest(start=False)
    images = ["busybox", other]
    for number, delay in enumerate((0.0, 0.005, 0.01, 0.015, 0.02, 0.03)):
        wanted = images[(number + 1) % 2]

        def send(wanted: str = wanted) -> None:
            with contextlib.suppress(Exception):
                _rebuild(host, name, wanted)

        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(delay)
        host.kill9()
        sender.join()
        host.start()
        base = host.get(f"/1.0/instances/{name}")["config"]["volatile.base_image"]
        status = host.api.raw("GET", f"/1.0/instances/{name}/files?path=/etc/which")[0]
        assert status == (200 if base == host.get("/1.0/images/aliases/other")["target"] else 404)
        left = list((host.directory / "storage-pools/default/volumes/container").glob("*.old"))
        assert left == []
    host.power(name, "start")
