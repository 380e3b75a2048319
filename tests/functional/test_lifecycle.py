"""Instances from creation to deletion, over the API: power, names, ephemeral ones, snapshots, copies, live changes."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.hosts import Host
from tests.hosts.api import ApiError
from tests.hosts.waiting import wait_until

Guest = Callable[..., str]


def _status(host: Host, name: str) -> str:
    found: str = host.get(f"/1.0/instances/{name}")["status"]
    return found


def test_start_stop_restart_freeze(host: Host, guest: Guest) -> None:
    name = guest()
    assert _status(host, name) == "Running"
    first = host.state(name)["pid"]
    host.power(name, "freeze")
    assert host.get(f"/1.0/instances/{name}")["status_code"] == 110
    host.power(name, "unfreeze")
    host.power(name, "restart", force=True)
    assert host.state(name)["pid"] != first
    host.power(name, "stop", timeout=20)
    state = host.state(name)
    assert (state["status"], state["status_code"], state["pid"], state["network"]) == ("Stopped", 102, 0, None)


@pytest.mark.parametrize(
    ("running", "action", "sentence"),
    [
        (True, "start", "The instance is already running"),
        (False, "stop", "The instance is already stopped"),
        (False, "restart", "The instance is not running"),
        (False, "freeze", "The instance is not running"),
    ],
)
def test_a_state_that_is_there_already_is_refused_in_lxds_words(
    host: Host, guest: Guest, running: bool, action: str, sentence: str
) -> None:
    name = guest(start=running)
    with pytest.raises(ApiError, match=sentence):
        host.power(name, action)


def test_a_frozen_guest_is_thawed_by_start_and_ended_by_stop(host: Host, guest: Guest) -> None:
    name = guest()
    host.power(name, "freeze")
    host.power(name, "start")
    assert _status(host, name) == "Running"
    host.power(name, "freeze")
    host.power(name, "stop", force=True)
    assert _status(host, name) == "Stopped"


def test_a_guest_that_does_not_stop_in_time_goes_on(host: Host, guest: Guest) -> None:
    name = guest()
    host.run("sh", "-c", f"kill -STOP {host.state(name)['pid']}")
    with pytest.raises(ApiError, match='status is "Running"'):
        host.power(name, "stop", timeout=1)
    assert _status(host, name) == "Running"
    host.run("sh", "-c", f"kill -CONT {host.state(name)['pid']}")
    wait_until(lambda: _status(host, name) == "Stopped", 15, what="the guest has got the signal")


def test_a_guest_that_has_hardly_begun_can_be_stopped(host: Host, guest: Guest) -> None:
    name = guest(start=False)
    for _ in range(5):
        host.power(name, "start")
        host.power(name, "stop", timeout=20)
    assert _status(host, name) == "Stopped"


def test_poweroff_and_reboot_from_inside_are_seen_at_once(host: Host, guest: Guest) -> None:
    name = guest()
    first = host.state(name)["pid"]
    host.exec(name, "reboot", check=False)
    wait_until(lambda: host.state(name)["pid"] not in (0, first), 10, what="the guest has rebooted")
    assert _status(host, name) == "Running"
    host.exec(name, "poweroff", check=False)
    wait_until(lambda: _status(host, name) == "Stopped", 10, what="the guest is off")
    wait_until(
        lambda: host.get(f"/1.0/instances/{name}")["config"]["volatile.last_state.power"] == "STOPPED",
        what="it is remembered as stopped",
    )


@pytest.mark.parametrize("inside", [True, False])
def test_an_ephemeral_instance_goes_when_it_stops(host: Host, guest: Guest, inside: bool) -> None:
    name = guest(ephemeral=True)
    first = host.state(name)["pid"]
    host.exec(name, "reboot", check=False)
    wait_until(lambda: host.state(name)["pid"] not in (0, first), 10, what="the guest has rebooted")
    if inside:
        host.exec(name, "poweroff", check=False)
    else:
        host.power(name, "stop", force=True)
    wait_until(lambda: not host.api.exists(f"/1.0/instances/{name}"), 10, what="the instance is gone")


def test_a_name_is_made_up_when_none_is_given(host: Host) -> None:
    operation = host.call("POST", "/1.0/instances", {"source": {"type": "image", "alias": "busybox"}})
    name = operation["resources"]["instances"][0].rpartition("/")[2]
    assert re.fullmatch(r"[a-z]+-[a-z]+(-\d+)?", name)
    assert operation["resources"]["containers"] == [f"/1.0/containers/{name}"]
    host.delete(name)


def test_create_and_start_in_one_call(host: Host, guest: Guest) -> None:
    host.call(
        "POST", "/1.0/instances", {"name": "atonce", "start": True, "source": {"type": "image", "alias": "busybox"}}
    )
    assert _status(host, "atonce") == "Running"
    host.delete("atonce")


def test_rename_takes_snapshots_and_files_along(host: Host, guest: Guest) -> None:
    name = guest(start=False)
    host.call("POST", f"/1.0/instances/{name}/snapshots", {"name": "before"})
    host.call("POST", f"/1.0/instances/{name}", {"name": "renamed"})
    assert not host.api.exists(f"/1.0/instances/{name}")
    assert host.get("/1.0/instances/renamed/snapshots") == ["/1.0/instances/renamed/snapshots/before"]
    host.power("renamed", "start")
    assert host.exec("renamed", "hostname").stdout.strip() == "renamed"
    with pytest.raises(ApiError, match="Renaming of running instance not allowed"):
        host.call("POST", "/1.0/instances/renamed", {"name": "other"})
    host.delete("renamed")


@pytest.mark.parametrize("running", [False, True])
def test_snapshots_keep_what_was_and_restore_brings_it_back(host: Host, guest: Guest, running: bool) -> None:
    name = guest(config={"user.colour": "red"})
    host.exec(name, "sh", "-c", "echo one > /root/note; mkdir /root/dir; sync")
    if not running:
        host.power(name, "stop", force=True)
    host.call("POST", f"/1.0/instances/{name}/snapshots", {"name": "s1"})
    if not running:
        host.power(name, "start")
    host.exec(name, "sh", "-c", "echo two > /root/note; rmdir /root/dir; touch /root/new")
    host.call("PATCH", f"/1.0/instances/{name}", {"config": {"user.colour": "blue"}})
    host.call("PUT", f"/1.0/instances/{name}", {"restore": "s1"})
    assert _status(host, name) == "Running"
    assert host.exec(name, "sh", "-c", "cat /root/note; ls /root").stdout.split() == ["one", "dir", "note"]
    assert host.get(f"/1.0/instances/{name}")["config"]["user.colour"] == "red"

    host.call("POST", f"/1.0/instances/{name}/snapshots/s1", {"name": "s2"})
    host.call("POST", "/1.0/instances", {"name": "fromsnap", "source": {"type": "copy", "source": f"{name}/s2"}})
    host.power("fromsnap", "start")
    assert host.exec("fromsnap", "cat", "/root/note").stdout == "one\n"
    host.call("DELETE", f"/1.0/instances/{name}/snapshots/s2")
    assert host.get(f"/1.0/instances/{name}/snapshots") == []
    assert host.exec("fromsnap", "cat", "/root/note").stdout == "one\n"
    host.delete("fromsnap")


def test_a_copy_is_its_own_machine(host: Host, guest: Guest) -> None:
    name = guest()
    host.exec(name, "sh", "-c", "echo kept > /root/note")
    host.call("POST", f"/1.0/instances/{name}/snapshots", {"name": "s1"})
    host.call("POST", "/1.0/instances", {"name": "twin", "source": {"type": "copy", "source": name}})
    host.power("twin", "start")
    one, two = host.get(f"/1.0/instances/{name}"), host.get("/1.0/instances/twin")
    for key in ("volatile.uuid", "volatile.eth0.hwaddr", "volatile.eth0.host_name"):
        assert one["config"][key] != two["config"][key]
    assert host.get("/1.0/instances/twin/snapshots") == ["/1.0/instances/twin/snapshots/s1"]
    assert host.address_of(name) != host.address_of("twin")
    host.exec("twin", "sh", "-c", "echo changed > /root/note")
    assert host.exec(name, "cat", "/root/note").stdout == "kept\n"
    assert host.exec("twin", "hostname").stdout == "twin\n"
    host.delete("twin")


def test_a_change_of_limits_reaches_the_running_guest(host: Host, guest: Guest) -> None:
    name = guest(config={"limits.processes": "100"})
    limited = {"config": {"limits.memory": "64MiB", "limits.processes": "50"}}
    host.call("PATCH", f"/1.0/instances/{name}", limited)
    cgroup = host.run("sh", "-c", f"cat /proc/{host.state(name)['pid']}/cgroup").stdout
    found = _limit(host, cgroup, "memory", "memory.limit_in_bytes", "memory.max")
    assert found == str(64 << 20)
    assert _limit(host, cgroup, "pids", "pids.max", "pids.max") == "50"
    document = host.get(f"/1.0/instances/{name}")
    del document["config"]["limits.memory"]
    host.call("PUT", f"/1.0/instances/{name}", document)
    assert _limit(host, cgroup, "memory", "memory.limit_in_bytes", "memory.max") != str(64 << 20)


def _limit(host: Host, groups: str, controller: str, legacy: str, unified: str) -> str:
    for line in groups.splitlines():
        number, names, path = line.split(":", 2)
        if controller in names.split(","):
            return host.run("cat", f"/sys/fs/cgroup/{controller}{path}/{legacy}").stdout.strip()
        if number == "0":
            pure = path
    top = pure.split("/init.scope")[0]
    return host.run("cat", f"/sys/fs/cgroup{top}/{unified}").stdout.strip()


def test_a_nic_comes_and_goes_while_the_guest_runs(host: Host, guest: Guest) -> None:
    name = guest()
    nic = {"type": "nic", "network": "hutchbr0", "name": "eth1"}
    host.call("PATCH", f"/1.0/instances/{name}", {"devices": {"second": nic}})
    assert "eth1" in host.state(name)["network"]
    volatile = host.get(f"/1.0/instances/{name}")["config"]["volatile.second.host_name"]
    host.restart()
    assert "eth1" in host.state(name)["network"]
    document = host.get(f"/1.0/instances/{name}")
    del document["devices"]["second"]
    host.call("PUT", f"/1.0/instances/{name}", document)
    assert "eth1" not in host.state(name)["network"]
    assert volatile not in host.run("ip", "link").stdout
    assert "volatile.second.host_name" not in host.get(f"/1.0/instances/{name}")["config"]


def test_profiles_stack_and_reach_running_instances(host: Host, guest: Guest) -> None:
    host.call("POST", "/1.0/profiles", {"name": "extra", "config": {"user.a": "profile", "limits.processes": "200"}})
    name = guest(profiles=["default", "extra"], config={"user.b": "own"})
    found = host.get(f"/1.0/instances/{name}")
    assert found["expanded_config"]["user.a"] == "profile"
    assert "user.a" not in found["config"]
    assert set(found["expanded_devices"]) == {"root", "eth0"}
    host.call("PUT", "/1.0/profiles/extra", {"config": {"user.a": "new"}, "devices": {}})
    assert host.get(f"/1.0/instances/{name}")["expanded_config"]["user.a"] == "new"
    with pytest.raises(ApiError, match="currently in use"):
        host.call("DELETE", "/1.0/profiles/extra")
    with pytest.raises(ApiError, match="extra"):
        host.call("PUT", "/1.0/profiles/extra", {"config": {"limits.memory": "much"}, "devices": {}})
    host.delete(name)
    host.call("DELETE", "/1.0/profiles/extra")


def test_deleting_is_refused_while_it_runs_or_is_protected(host: Host, guest: Guest) -> None:
    name = guest(config={"security.protection.delete": "true"})
    with pytest.raises(ApiError, match="currently running"):
        host.call("DELETE", f"/1.0/instances/{name}")
    host.power(name, "stop", force=True)
    with pytest.raises(ApiError, match="protected"):
        host.call("DELETE", f"/1.0/instances/{name}")
    host.call("PATCH", f"/1.0/instances/{name}", {"config": {"security.protection.delete": ""}})


def test_bulk_state_change(host: Host, guest: Guest) -> None:
    names = [guest(start=False) for _ in range(3)]
    host.call("PUT", "/1.0/instances", {"state": {"action": "start"}})
    assert [_status(host, name) for name in names] == ["Running"] * 3
    host.call("PUT", "/1.0/instances", {"state": {"action": "stop", "force": True}})
    assert [_status(host, name) for name in names] == ["Stopped"] * 3


def test_listings_have_urls_objects_states_and_filters(host: Host, guest: Guest) -> None:
    running, stopped = guest(config={"user.kind": "a"}), guest(start=False)
    assert {f"/1.0/containers/{running}", f"/1.0/containers/{stopped}"} <= set(host.get("/1.0/containers"))
    objects = {each["name"]: each for each in host.get("/1.0/instances?recursion=1")}
    assert len(objects[running]) == 17
    full: dict[str, Any] = {each["name"]: each for each in host.get("/1.0/instances?recursion=2")}
    assert full[running]["state"]["pid"] > 0
    assert full[stopped]["snapshots"] is None
    assert full[stopped]["state"]["pid"] == 0
    assert host.get("/1.0/instances?filter=config.user.kind eq a".replace(" ", "%20")) == [f"/1.0/instances/{running}"]
    assert host.get("/1.0/instances?project=nowhere") == []


def test_an_etag_that_is_old_is_refused(host: Host, guest: Guest) -> None:
    name = guest(start=False)
    path = f"/1.0/instances/{name}"
    _, headers, _ = host.api.raw("GET", path)
    tag = {key.lower(): value for key, value in headers.items()}["etag"]
    host.power(name, "start")
    host.call("PATCH", path, {"config": {"user.a": "1"}}, headers={"If-Match": tag})
    with pytest.raises(ApiError, match="ETag doesn't match"):
        host.call("PATCH", path, {"config": {"user.a": "2"}}, headers={"If-Match": tag})


def test_an_instance_type_gives_limits_that_may_be_overridden(host: Host, guest: Guest) -> None:
    name = guest(start=False, instance_type="aws:t2.micro", config={"limits.memory": "96MiB"})
    config = host.get(f"/1.0/instances/{name}")["config"]
    assert (config["limits.cpu"], config["limits.memory"]) == ("1", "96MiB")
    with pytest.raises(ApiError, match="The instance type 'nothing' doesn't exist"):
        host.create("untyped", "busybox", start=False, instance_type="nothing")
