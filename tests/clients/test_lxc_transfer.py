"""Debian's `lxc` copies and moves instances between servers, pools and projects."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.functional import transfers
from tests.hosts import Host, Segment, images

pytestmark = pytest.mark.skipif(shutil.which("lxc") is None, reason="Debian's lxd-client is not installed")


@pytest.fixture
def pair(hosts: Callable[..., Host], segment: Segment) -> tuple[Host, Host]:
    """The client of the first host knows the second as `two`."""
    one, two = transfers.connected(hosts, segment), transfers.connected(hosts, segment, image=False)
    two.call("PATCH", "/1.0", {"config": {"core.trust_password": "secret"}})
    one.lxc("remote", "add", "two", two.address, "--accept-certificate", "--password", "secret")
    return one, two


def listed(host: Host, *words: str) -> dict[str, dict[str, Any]]:
    found = json.loads(host.lxc("list", *words, "--format", "json").stdout)
    return {each["name"]: each for each in found}


def test_copies_between_servers_in_every_mode(pair: tuple[Host, Host]) -> None:
    one, two = pair
    one.lxc("init", "busybox", "c1", "-c", "user.note=kept")
    for number in range(3):
        (one.folder / "note").write_text(f"{number}\n")
        one.lxc("file", "push", str(one.folder / "note"), "c1/root/note")
        one.lxc("snapshot", "c1", f"s{9 - number}")

    for mode in ("pull", "push", "relay"):
        one.lxc("copy", "c1", f"two:{mode}", "--mode", mode, "-c", f"user.mode={mode}")
    one.lxc("copy", "c1/s9", "two:old")
    one.lxc("copy", "two:relay", "back", "--instance-only")

    there = listed(one, "two:")
    for mode in ("pull", "push", "relay"):
        assert there[mode]["config"]["user.note"] == "kept"
        assert there[mode]["config"]["user.mode"] == mode
        order = [each["name"] for each in sorted(there[mode]["snapshots"], key=lambda each: each["created_at"])]
        assert order == ["s9", "s8", "s7"]
        assert one.lxc("file", "pull", f"two:{mode}/root/note", "-").stdout == "2\n"
        two.call("PUT", f"/1.0/instances/{mode}", {**there[mode], "restore": "s8"})
        assert one.lxc("file", "pull", f"two:{mode}/root/note", "-").stdout == "1\n"
    assert one.lxc("file", "pull", "two:old/root/note", "-").stdout == "0\n"
    assert not listed(one)["back"]["snapshots"]
    one.lxc("start", "back", "two:pull")
    assert one.lxc("exec", "two:pull", "cat", "/root/note").stdout == "1\n"


def test_refresh_brings_changes_and_nothing_else(pair: tuple[Host, Host]) -> None:
    one, _ = pair
    one.lxc("init", "busybox", "c1")
    one.lxc("snapshot", "c1", "gone")
    one.lxc("snapshot", "c1", "kept")
    one.lxc("copy", "c1", "two:c1")
    first = listed(one, "two:")["c1"]
    one.lxc("delete", "c1/gone")
    (one.folder / "note").write_text("new\n")
    one.lxc("file", "push", str(one.folder / "note"), "c1/root/note")
    one.lxc("snapshot", "c1", "fresh")

    one.lxc("copy", "c1", "two:c1", "--refresh")

    found = listed(one, "two:")["c1"]
    assert {each["name"] for each in found["snapshots"]} == {"kept", "fresh"}
    assert found["created_at"] == first["created_at"]
    assert one.lxc("file", "pull", "two:c1/root/note", "-").stdout == "new\n"
    one.lxc("copy", "c1", "two:new", "--refresh")
    assert "new" in listed(one, "two:")


def test_moves_take_the_instance_along(pair: tuple[Host, Host]) -> None:
    one, _ = pair
    one.lxc("init", "busybox", "c1")
    one.lxc("snapshot", "c1", "s1")
    one.lxc("config", "set", "c1", "volatile.eth0.hwaddr", "00:16:3e:00:00:07")

    one.lxc("move", "c1", "two:")

    assert "c1" not in listed(one)
    found = listed(one, "two:")["c1"]
    assert [each["name"] for each in found["snapshots"]] == ["s1"]
    assert found["config"]["volatile.eth0.hwaddr"] == "00:16:3e:00:00:07"
    one.lxc("move", "two:c1", "local:", "--mode", "relay")
    assert "c1" in listed(one)
    assert not listed(one, "two:")


def test_running_guests_are_copied_without_their_memory(pair: tuple[Host, Host]) -> None:
    one, two = pair
    one.lxc("launch", "busybox", "c1")
    one.lxc("exec", "c1", "--", "sh", "-c", "echo here > /root/note")

    refused = one.lxc("move", "c1", "two:", check=False)
    one.lxc("copy", "c1", "two:c2", "--stateless")

    assert "migration.stateful" in refused.stderr
    assert one.lxc("file", "pull", "two:c2/root/note", "-").stdout == "here\n"
    assert listed(one)["c1"]["status"] == "Running"
    assert not [each for each in two.get("/1.0/instances") if each.endswith("/c1")]


def test_pools_and_projects(pair: tuple[Host, Host]) -> None:
    one, _ = pair
    one.lxc("storage", "create", "plain", "dir")
    one.lxc("project", "create", "other", "-c", "features.images=false", "-c", "features.profiles=false")
    one.lxc("init", "busybox", "c1")
    (one.folder / "note").write_text("here\n")
    one.lxc("file", "push", str(one.folder / "note"), "c1/root/note")
    one.lxc("snapshot", "c1", "s1")

    one.lxc("copy", "c1", "c2", "-s", "plain")
    one.lxc("move", "c1", "-s", "plain")
    one.lxc("move", "c2", "c3", "--target-project", "other")
    one.lxc("copy", "c1", "c4", "--target-project", "other", "--instance-only")

    assert listed(one)["c1"]["expanded_devices"]["root"]["pool"] == "plain"
    there = listed(one, "--project", "other")
    assert set(there) == {"c3", "c4"}
    assert [each["name"] for each in there["c3"]["snapshots"]] == ["s1"]
    one.lxc("start", "c1")
    assert one.lxc("exec", "c1", "cat", "/root/note").stdout == "here\n"
    one.lxc("restore", "c3", "s1", "--project", "other")
    one.lxc("start", "c3", "--project", "other")
    assert one.lxc("exec", "c3", "--project", "other", "cat", "/root/note").stdout == "here\n"
    one.lxc("stop", "--force", "c1")
    one.lxc("copy", "c1", "c5", "--refresh")
    one.lxc("snapshot", "c1", "s2")
    one.lxc("copy", "c1", "c5", "--refresh")
    assert [each["name"] for each in listed(one)["c5"]["snapshots"]] == ["s1", "s2"]


def test_custom_volumes_go_from_server_to_server(pair: tuple[Host, Host]) -> None:
    one, two = pair
    one.lxc("storage", "volume", "create", "default", "data", "size=100MiB")
    one.lxc("launch", "busybox", "c1")
    one.lxc("storage", "volume", "attach", "default", "data", "c1", "/data")
    one.lxc("exec", "c1", "--", "sh", "-c", "cd /data; echo one > note; chown 3:4 note; ln note other")
    one.lxc("storage", "volume", "snapshot", "default", "data", "s1")
    one.lxc("exec", "c1", "--", "sh", "-c", "echo two > /data/note")
    volumes = "/1.0/storage-pools/default/volumes/custom"

    for mode in ("pull", "push", "relay"):
        one.lxc("storage", "volume", "copy", "default/data", f"two:default/{mode}", "--mode", mode)
    one.lxc("exec", "c1", "--", "sh", "-c", "echo three > /data/note")
    one.lxc("storage", "volume", "snapshot", "default", "data", "s2")
    one.lxc("storage", "volume", "copy", "default/data", "two:default/pull", "--refresh")
    one.lxc("storage", "volume", "copy", "default/data", "two:default/bare", "--volume-only")

    for name, kept in (("pull", ["s1", "s2"]), ("push", ["s1"]), ("relay", ["s1"]), ("bare", [])):
        assert [each.rpartition("/")[2] for each in two.get(f"{volumes}/{name}/snapshots")] == kept
        assert two.get(f"{volumes}/{name}")["config"]["size"] == "100MiB"
    two.import_image(images.built("busybox"), "busybox")
    disk = {"type": "disk", "pool": "default", "source": "pull", "path": "/data"}
    two.create("c2", "busybox", devices={"data": disk})
    shown = two.exec("c2", "sh", "-c", "cat /data/note; stat -c '%u %g %h' /data/other")
    assert shown.stdout == "three\n3 4 2\n"
    assert [each.rpartition("/")[2] for each in one.get(f"{volumes}/data/snapshots")] == ["s1", "s2"]
    refused = one.lxc("storage", "volume", "copy", "default/data", "two:default/pull", "--refresh", check=False)
    assert "running instances: c2" in refused.stderr
