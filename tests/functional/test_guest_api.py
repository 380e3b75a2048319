"""The API that a guest has of itself: what it learns, what it may say, who is sent away, and that it outlives the daemon."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

import pytest

from tests.hosts import Host, wait_until

Maker = Callable[..., str]
FOLDERS = ("/dev/lxd", "/dev/incus")


def _say(process: Popen[str], **request: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()


def _hear(process: Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


@contextmanager
def _inside(host: Host, name: str) -> Iterator[Popen[str]]:
    process = host.begin_inside(name)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _patch(host: Host, name: str, **document: Any) -> None:
    host.call("PATCH", f"/1.0/instances/{name}", document)


@pytest.fixture(scope="module")
def lodger(host: Host) -> Iterator[str]:
    """A guest with something to tell."""
    config = {"user.colour": "blue", "cloud-init.user-data": "#cloud-config\n{}\n", "user.vendor-data": "old name"}
    host.create("lodger", "busybox", config=config | {"limits.memory": "200MiB"})
    yield "lodger"
    host.delete("lodger")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_guest_learns_of_itself(host: Host, lodger: str, folder: str) -> None:
    paths = ("/", "/1.0", "/1.0/config", "/1.0/config/user.colour", "/1.0/config/cloud-init.vendor-data")
    answers = host.guest_api(lodger, *paths, "/1.0/meta-data", "/1.0/devices", socket=f"{folder}/sock")
    assert [status for status, _ in answers] == [200] * 7
    root, about, keys, colour, vendor, meta, devices = (text for _, text in answers)
    assert json.loads(root) == ["/1.0"]
    assert json.loads(about) == {
        "api_version": "1.0",
        "instance_type": "container",
        "location": "none",
        "state": "Started",
    }
    assert json.loads(keys) == [
        f"/1.0/config/{key}" for key in ("cloud-init.user-data", "user.colour", "user.vendor-data")
    ]
    assert (colour, vendor) == ("blue", "old name")
    config = host.get(f"/1.0/instances/{lodger}")["config"]
    assert meta.splitlines()[:3] == [
        "#cloud-config",
        f"instance-id: {config['volatile.cloud-init.instance-id']}",
        "local-hostname: lodger",
    ]
    nic = json.loads(devices)["eth0"]
    assert nic == {"type": "nic", "network": "hutchbr0", "name": "eth0", "hwaddr": config["volatile.eth0.hwaddr"]}


@pytest.mark.parametrize(
    ("path", "how", "status"),
    [
        ("/1.0/config/limits.memory", {}, 403),
        ("/1.0/config/volatile.uuid", {}, 403),
        ("/1.0/config/user.none", {}, 404),
        ("/1.0/images/0/export", {}, 403),
        ("/1.0/instances", {}, 404),
        ("/1.0/../1.0/instances", {}, 404),
        ("/1.0/config/..%2f..%2fuser.colour", {}, 403),
        ("/1.0", {"method": "DELETE"}, 501),
        ("/1.0", {"method": "PATCH", "body": '{"state": "Sleepy"}'}, 400),
        ("/1.0", {"method": "PATCH", "body": "not JSON"}, 400),
        ("/1.0", {"method": "PATCH", "body": "x" * 100_000}, 413),
        ("/1.0/events?type=lifecycle", {}, 400),
        ("/1.0/" + "x" * 20_000, {}, 400),
    ],
)
def test_what_is_not_the_guests_is_refused(
    host: Host, lodger: str, path: str, how: dict[str, str], status: int
) -> None:
    ((answer, text),) = host.guest_api(lodger, path, **how)
    assert answer == status
    assert str(host.folder) not in text


def test_only_the_guests_root_is_served(host: Host, lodger: str, guest: Maker) -> None:
    neighbour = guest()
    (other_user,) = host.guest_api(lodger, "/1.0", uid=1000)
    foreign = f"{host.directory}/instances/default/{neighbour}/guestapi/sock"
    (other_guest,) = host.guest_api(lodger, "/1.0", socket=foreign, namespaces="user,pid")
    hosts_root = host.run("curl", "-sS", "--max-time", "5", "--unix-socket", foreign, "http://guest/1.0", check=False)
    assert other_user == (401, "Access denied for non-root user\n")
    assert other_guest[0] == 0
    assert hosts_root.returncode != 0
    assert not hosts_root.stdout
    assert host.guest_api(neighbour, "/1.0")[0][0] == 200


def test_ready_is_told_and_forgotten_at_the_next_start(host: Host, guest: Maker) -> None:
    name = guest()
    (told,) = host.guest_api(name, "/1.0", method="PATCH", body='{"state": "Ready"}')
    assert told == (200, "")
    assert host.get(f"/1.0/instances/{name}")["status"] == "Ready"
    assert json.loads(host.guest_api(name, "/1.0")[0][1])["state"] == "Ready"
    host.power(name, "restart", force=True)
    assert host.get(f"/1.0/instances/{name}")["status"] == "Running"
    host.guest_api(name, "/1.0", method="PATCH", body='{"state": "Ready"}')
    host.guest_api(name, "/1.0", method="PATCH", body='{"state": "Started"}')
    assert host.get(f"/1.0/instances/{name}")["status"] == "Running"


def test_changes_are_told_to_the_guest_that_they_are_of(host: Host, guest: Maker) -> None:
    name, other = guest(), guest()
    with _inside(host, name) as listening, _inside(host, name) as choosy:
        _say(listening, path="/1.0/events", lines=4)
        _say(choosy, path="/1.0/events?type=device", lines=1)
        assert _hear(listening)["text"] == _hear(choosy)["text"] == "begun"
        _patch(host, other, config={"user.a": "of another"})
        _patch(host, name, config={"user.a": "1", "limits.processes": "500"})
        _patch(host, name, config={"user.a": "2"})
        nic = {"type": "nic", "network": "hutchbr0", "name": "eth1"}
        _patch(host, name, devices={"eth1": nic})
        mac = host.get(f"/1.0/instances/{name}")["config"]["volatile.eth1.hwaddr"]
        host.call("PUT", f"/1.0/instances/{name}", {"profiles": ["default"], "config": {"user.a": "2"}, "devices": {}})
        events = [json.loads(line) for line in _hear(listening)["text"].splitlines()]
        device = json.loads(_hear(choosy)["text"])
    assert [(event["type"], event["metadata"]) for event in events] == [
        ("config", {"key": "user.a", "old_value": "", "value": "1"}),
        ("config", {"key": "user.a", "old_value": "1", "value": "2"}),
        ("device", {"action": "added", "name": "eth1", "config": nic | {"hwaddr": mac}}),
        ("device", {"action": "removed", "name": "eth1", "config": nic}),
    ]
    assert device["metadata"] == events[2]["metadata"]


def test_the_api_is_taken_and_given_while_the_guest_runs(host: Host, guest: Maker) -> None:
    name = guest(config={"security.devlxd": "false"})
    assert host.guest_api(name, "/1.0")[0][0] == 0
    _patch(host, name, config={"security.devlxd": "true"})
    assert host.guest_api(name, "/1.0")[0][0] == 200
    _patch(host, name, config={"security.guestapi": "false"})
    assert host.guest_api(name, "/1.0")[0][0] == 0


def test_images_are_given_to_a_guest_that_may_have_them(host: Host, guest: Maker) -> None:
    name = guest(config={"security.devlxd.images": "true"})
    fingerprint = host.get("/1.0/images/aliases/busybox")["target"]
    path = f"/1.0/images/{fingerprint}/export"
    assert host.guest_api(name, path)[0][0] == 404
    host.call("PATCH", f"/1.0/images/{fingerprint}", {"public": True})
    try:
        _, answer = host.guest_api(name, path, lines=1)
        assert answer[0] == 200
    finally:
        host.call("PATCH", f"/1.0/images/{fingerprint}", {"public": False})


def test_a_guest_that_takes_every_connection_harms_itself_alone(host: Host, guest: Maker, lodger: str) -> None:
    name = guest()
    with _inside(host, name) as greedy:
        _say(greedy, path="", flood=500)
        taken = _hear(greedy)["status"]
        assert taken < 100
        assert host.guest_api(lodger, "/1.0")[0][0] == 200
        assert host.get(f"/1.0/instances/{name}")["status"] == "Running"
    assert wait_until(lambda: host.guest_api(name, "/1.0")[0][0] == 200, 10)


def test_a_new_daemon_serves_the_guests_that_run(host: Host, guest: Maker) -> None:
    name = guest()
    host.restart()
    assert host.guest_api(name, "/1.0")[0][0] == 200
    host.kill9()
    host.start()
    assert host.guest_api(name, "/1.0")[0][0] == 200


def test_a_renamed_and_a_copied_guest_have_their_own(host: Host, guest: Maker) -> None:
    name = guest(start=False, config={"user.colour": "green"})
    host.call("POST", f"/1.0/instances/{name}", {"name": "lodger-renamed"})
    host.call("POST", "/1.0/instances", {"name": name, "source": {"type": "copy", "source": "lodger-renamed"}})
    identities = set()
    try:
        for each in (name, "lodger-renamed"):
            host.power(each, "start")
            (meta,) = host.guest_api(each, "/1.0/meta-data")
            assert f"local-hostname: {each}\n" in meta[1]
            identities.add(meta[1].splitlines()[1])
            assert host.guest_api(each, "/1.0/config/user.colour") == [(200, "green")]
        assert len(identities) == 2
    finally:
        host.delete("lodger-renamed")


def test_new_data_make_an_instance_new_to_cloud_init(host: Host, guest: Maker) -> None:
    name = guest(start=False)

    def identity() -> str:
        found: str = host.get(f"/1.0/instances/{name}")["config"]["volatile.cloud-init.instance-id"]
        return found

    first = identity()
    _patch(host, name, config={"user.colour": "red"})
    assert identity() == first
    _patch(host, name, config={"cloud-init.user-data": "#cloud-config\n{}\n"})
    assert identity() != first
