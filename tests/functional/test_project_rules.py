"""Limits and restrictions of projects, tried as attacks: by every way in which an instance comes by its settings."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import Host
from tests.hosts.api import ApiError
from tests.hosts.host import NETWORK, POOL

Project = Callable[..., str]
ROOT = {"root": {"type": "disk", "path": "/", "pool": POOL}}
BLANK: dict[str, str] = {"type": "none"}
PRIVILEGED = {"security.privileged": "true"}
HOST_DISK = {"etc": {"type": "disk", "source": "/etc", "path": "/mnt"}}


def create(host: Host, project: str, name: str, *, source: dict[str, str] = BLANK, **document: Any) -> None:
    devices = ROOT | document.pop("devices", {})
    wanted = {"name": name, "source": source, "devices": devices, **document}
    host.call("POST", f"/1.0/instances?project={project}", wanted)


def refused(match: str, host: Host, method: str, path: str, body: Any) -> None:
    with pytest.raises(ApiError, match=match):
        host.call(method, path, body, headers=RAW if isinstance(body, bytes) else None)


@pytest.fixture
def jail(project: Project) -> str:
    """A project in which everything is restricted that can be."""
    return project("jail", restricted="true", features_images="false")


def test_nothing_forbidden_comes_in_with_a_new_instance(host: Host, jail: str) -> None:
    for document, sentence in (
        ({"config": PRIVILEGED}, "Privileged containers are forbidden"),
        ({"config": {"raw.lxc": "lxc.hook.start-host = /bin/true"}}, "low-level"),
        ({"devices": HOST_DISK}, "not backed by a pool"),
        ({"devices": {"eth0": {"type": "nic", "nictype": "bridged", "parent": NETWORK}}}, "Only managed"),
    ):
        with pytest.raises(ApiError, match=sentence) as refusal:
            create(host, jail, "bad", **document)
        assert refusal.value.code == 403
    assert host.get(f"/1.0/instances?project={jail}") == []
    create(host, jail, "good", devices={"eth0": {"type": "nic", "network": NETWORK}})


def test_nothing_forbidden_comes_in_with_a_profile(host: Host, jail: str) -> None:
    path = f"/1.0/profiles?project={jail}"
    refused("profile 'bad'.*Privileged", host, "POST", path, {"name": "bad", "config": PRIVILEGED})
    host.call("POST", path, {"name": "good", "config": {"limits.memory": "64MiB"}})
    for method in ("PUT", "PATCH"):
        refused("not backed", host, method, f"/1.0/profiles/good?project={jail}", {"devices": HOST_DISK})
    assert host.get(f"/1.0/profiles/good?project={jail}")["devices"] == {}


def test_a_shared_profile_cannot_break_the_rules_of_a_project_that_uses_it(host: Host, project: Project) -> None:
    project("tenant", restricted="true", features_profiles="false")
    host.call("POST", "/1.0/profiles", {"name": "wide", "config": PRIVILEGED})
    host.call("POST", "/1.0/profiles", {"name": "narrow"})
    try:
        refused("Privileged", host, "POST", "/1.0/instances?project=tenant", _wish("one", profiles=["wide"]))
        create(host, "tenant", "one", profiles=["narrow"])
        refused("instance 'one'.*Privileged", host, "PATCH", "/1.0/profiles/narrow", {"config": PRIVILEGED})
        refused("Privileged", host, "PATCH", "/1.0/instances/one?project=tenant", {"profiles": ["wide"]})
        assert host.get("/1.0/profiles/narrow")["config"] == {}
    finally:
        host.call("DELETE", "/1.0/instances/one?project=tenant")
        for name in ("wide", "narrow"):
            host.call("DELETE", f"/1.0/profiles/{name}")


def _wish(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "source": BLANK, "devices": ROOT, **more}


def test_nothing_forbidden_is_plugged_into_a_running_guest(host: Host, jail: str) -> None:
    create(host, jail, "live", source={"type": "image", "alias": "busybox"}, start=True)
    path = f"/1.0/instances/live?project={jail}"

    refused("not backed by a pool", host, "PATCH", path, {"devices": HOST_DISK})
    document = host.get(path)
    refused("not backed by a pool", host, "PUT", path, document | {"devices": ROOT | HOST_DISK})
    refused("Privileged", host, "PUT", path, document | {"config": document["config"] | PRIVILEGED})
    refused("low-level", host, "PATCH", path, {"config": {"volatile.eth0.host_name": NETWORK}})

    assert host.get(path)["devices"] == ROOT


def test_nothing_forbidden_comes_in_by_a_copy_or_a_restored_snapshot(host: Host, project: Project, jail: str) -> None:
    project("free")
    create(host, "free", "wild", config=PRIVILEGED)
    copy = {"type": "copy", "source": "wild", "project": "free"}
    refused("Privileged", host, "POST", f"/1.0/instances?project={jail}", _wish("tame", source=copy))
    refused(
        "not backed by a pool",
        *(host, "POST", f"/1.0/instances?project={jail}"),
        _wish("tame", source=copy, config={"security.privileged": "false"}, devices=ROOT | HOST_DISK),
    )
    host.call("POST", "/1.0/instances/wild/snapshots?project=free", {"name": "before"})
    host.call("PATCH", "/1.0/instances/wild?project=free", {"config": {"security.privileged": ""}})
    host.call("PATCH", "/1.0/projects/free", {"config": {"restricted": "true"}})
    refused("Privileged", host, "PUT", "/1.0/instances/wild?project=free", {"restore": "before"})
    assert "security.privileged" not in host.get("/1.0/instances/wild?project=free")["config"]


def test_nothing_forbidden_comes_in_with_a_backup(host: Host, project: Project, jail: str) -> None:
    project("free", features_images="false")
    create(host, "free", "wild", config=PRIVILEGED | {"volatile.eth0.host_name": "hutchbr0"})
    create(host, "free", "tame", config={"volatile.eth0.host_name": "hutchbr0"})
    wild, tame = (_exported(host, "free", name) for name in ("wild", "tame"))

    refused("Privileged", host, "POST", f"/1.0/instances?project={jail}", wild)
    host.call("POST", f"/1.0/instances?project={jail}", tame, headers=RAW)

    assert host.get(f"/1.0/instances?project={jail}") == [f"/1.0/instances/tame?project={jail}"]
    assert "volatile.eth0.host_name" not in host.get(f"/1.0/instances/tame?project={jail}")["config"]
    refused("create backups", host, "POST", f"/1.0/instances/tame/backups?project={jail}", {"name": "one"})


RAW = {"Content-Type": "application/octet-stream"}


def _exported(host: Host, project: str, name: str) -> bytes:
    """A backup of an instance, as bytes."""
    path = f"/1.0/instances/{name}/backups"
    host.call("POST", f"{path}?project={project}", {"name": "out"})
    return host.api.raw("GET", f"{path}/out/export?project={project}")[2]


def test_snapshots_are_made_only_where_the_project_allows_them(host: Host, jail: str) -> None:
    create(host, jail, "still")
    path = f"/1.0/instances/still/snapshots?project={jail}"
    refused("doesn't allow to create snapshots", host, "POST", path, {"name": "one"})
    host.call("PATCH", f"/1.0/projects/{jail}", {"config": {"restricted.snapshots": "allow"}})
    host.call("POST", path, {"name": "one"})


def test_members_of_a_cluster_are_chosen_only_where_the_project_allows_it(host: Host, jail: str) -> None:
    path = f"/1.0/instances?project={jail}&target=none"
    refused("target cluster members", host, "POST", path, _wish("aimed"))
    host.call("PATCH", f"/1.0/projects/{jail}", {"config": {"restricted.cluster.target": "allow"}})
    host.call("POST", path, _wish("aimed"))


def test_a_project_is_not_restricted_while_something_in_it_breaks_the_rules(host: Host, project: Project) -> None:
    project("loose")
    create(host, "loose", "wild", config=PRIVILEGED)
    path = "/1.0/projects/loose"

    refused("instance 'wild'.*Privileged", host, "PATCH", path, {"config": {"restricted": "true"}})
    assert "restricted" not in host.get(path)["config"]
    allowed = {"restricted": "true", "restricted.containers.privilege": "allow"}
    host.call("PATCH", path, {"config": allowed})
    refused("Privileged", host, "PATCH", path, {"config": {"restricted.containers.privilege": "unprivileged"}})
    host.call("POST", "/1.0/profiles?project=loose", {"name": "rough", "config": PRIVILEGED})
    host.call("DELETE", "/1.0/instances/wild?project=loose")
    refused("profile 'rough'.*Privileged", host, "PATCH", path, {"config": {"restricted.containers.privilege": ""}})


def test_counts_of_instances_are_limited(host: Host, project: Project) -> None:
    for key, sentence in (("instances", "maximum number of instances in"), ("containers", 'of type "container"')):
        name = project(f"few-{key}", **{f"limits_{key}": "1"})
        create(host, name, "first")
        refused(sentence, host, "POST", f"/1.0/instances?project={name}", _wish("second"))
        copy = {"type": "copy", "source": "first"}
        refused(sentence, host, "POST", f"/1.0/instances?project={name}", _wish("second", source=copy))
        refused("is too low", host, "PATCH", f"/1.0/projects/{name}", {"config": {f"limits.{key}": "0"}})
    none = project("no-machines", limits_virtual__machines="0")
    create(host, none, "container")


def test_a_race_of_creations_does_not_beat_the_limit(host: Host, project: Project) -> None:
    name = project("race", limits_instances="2")
    outcomes: list[str] = []

    def attempt(number: int) -> None:
        try:
            create(host, name, f"racer{number}")
            outcomes.append("made")
        except ApiError as error:
            outcomes.append(error.message)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(outcomes) == 6
    assert outcomes.count("made") == 2
    assert len(host.get(f"/1.0/instances?project={name}")) == 2


SUMS = [
    ("limits.cpu", "3", "2", "1", "0-1"),
    ("limits.memory", "300MiB", "200MiB", "100MiB", "50%"),
    ("limits.processes", "300", "200", "100", ""),
]


@pytest.mark.parametrize(("key", "most", "large", "small", "vague"), SUMS)
def test_sums_of_limits_are_limited(
    host: Host, project: Project, key: str, most: str, large: str, small: str, vague: str
) -> None:
    name = project("sums", **{key.replace(".", "_"): most})
    path = f"/1.0/instances?project={name}"

    refused(f'has no "{key}" config set', host, "POST", path, _wish("silent"))
    if vague:
        refused("only a plain number", host, "POST", path, _wish("vague", config={key: vague}))
    create(host, name, "one", config={key: large})
    refused("Reached maximum aggregate value", host, "POST", path, _wish("two", config={key: large}))
    create(host, name, "two", config={key: small})
    one = f"/1.0/instances/two?project={name}"
    refused("Reached maximum aggregate value", host, "PATCH", one, {"config": {key: large}})
    refused("has no", host, "PATCH", one, {"config": {key: ""}})
    refused("is too low", host, "PATCH", f"/1.0/projects/{name}", {"config": {key: large}})
    used = host.get(f"/1.0/projects/{name}/state")["resources"][key.removeprefix("limits.")]
    assert used["Limit"] == used["Usage"] > 0


def test_a_profile_cannot_lift_its_instances_over_a_sum(host: Host, project: Project) -> None:
    name = project("lifted", limits_memory="100MiB")
    profile = {"name": "sized", "config": {"limits.memory": "50MiB"}}
    host.call("POST", f"/1.0/profiles?project={name}", profile)
    for instance in ("one", "two"):
        create(host, name, instance, profiles=["sized"])

    path = f"/1.0/profiles/sized?project={name}"
    refused("Reached maximum", host, "PATCH", path, {"config": {"limits.memory": "51MiB"}})
    refused("has no", host, "PUT", path, {"config": {}})

    assert host.get(path)["config"] == profile["config"]


def test_sizes_of_disks_volumes_and_images_are_limited(host: Host, project: Project) -> None:
    name = project("disks", limits_disk="100MiB")
    path = f"/1.0/instances?project={name}"
    volumes = f"/1.0/storage-pools/{POOL}/volumes/custom?project={name}"

    refused('no "size"', host, "POST", path, _wish("silent"))
    refused('no "size"', host, "POST", volumes, {"name": "silent"})
    sized = {"root": ROOT["root"] | {"size": "60MiB"}}
    create(host, name, "one", devices=sized)
    refused("Reached maximum", host, "POST", path, _wish("two", devices=sized))
    refused("Reached maximum", host, "POST", volumes, {"name": "large", "config": {"size": "50MiB"}})
    host.call("POST", volumes, {"name": "small", "config": {"size": "40MiB"}})
    one = f"/1.0/storage-pools/{POOL}/volumes/custom/small?project={name}"
    refused("Reached maximum", host, "PATCH", one, {"config": {"size": "41MiB"}})
    refused("Reached maximum", host, "POST", f"/1.0/images?project={name}", IMAGE)
    assert host.get(f"/1.0/projects/{name}/state")["resources"]["disk"] == {"Limit": 100 << 20, "Usage": 100 << 20}
    assert one in host.get(f"/1.0/projects/{name}")["used_by"]


IMAGE = {"source": {"type": "image", "alias": "busybox", "project": "default"}}


def test_disks_come_from_the_folders_that_the_project_names(host: Host, project: Project) -> None:
    shared, secret = host.folder / "shared", host.folder / "secret"
    (shared / "inner").mkdir(parents=True)
    secret.mkdir()
    (secret / "key").write_text("secret")
    (shared / "sly").symlink_to(secret)
    (shared / "up").symlink_to("../secret")
    (shared / "inner" / "file").write_text("shared")
    rules = {"restricted_devices_disk": "allow", "restricted_devices_disk_paths": str(shared)}
    name = project("folders", restricted="true", features_images="false", **rules)
    path = f"/1.0/instances/guest?project={name}"
    create(host, name, "guest", source={"type": "image", "alias": "busybox"}, start=True)

    for source in (secret, shared / ".." / "secret", Path("/etc")):
        refused("not allowed by", host, "PATCH", path, {"devices": _disk(source)})
    for source in (shared / "sly", shared / "up", shared / "sly" / "key"):
        refused("Missing source path", host, "PATCH", path, {"devices": _disk(source)})
    host.call("PATCH", path, {"devices": _disk(shared / "inner")})
    found = host.api.raw("GET", f"/1.0/instances/guest/files?path=/mnt/file&project={name}")
    assert (found[0], found[2]) == (200, b"shared")


def _disk(source: Path) -> dict[str, dict[str, str]]:
    return {"shared": {"type": "disk", "source": str(source), "path": "/mnt"}}


def test_snapshots_of_volumes_are_made_only_where_the_project_allows_them(host: Host, jail: str) -> None:
    volumes = f"/1.0/storage-pools/{POOL}/volumes/custom"
    host.call("POST", f"{volumes}?project={jail}", {"name": "still"})

    refused("create snapshots", host, "POST", f"{volumes}/still/snapshots?project={jail}", {"name": "one"})


def test_networks_of_a_project_are_limited(host: Host, project: Project) -> None:
    name = project("nets", features_networks="true", limits_networks="1")
    path = f"/1.0/networks?project={name}"

    host.call("POST", path, {"name": "limbr0", "config": {"ipv6.address": "none"}})
    refused("Networks limit", host, "POST", path, {"name": "limbr1"})
    refused("too low", host, "PATCH", f"/1.0/projects/{name}", {"config": {"limits.networks": "0"}})
    assert host.get(f"/1.0/projects/{name}/state")["resources"]["networks"] == {"Limit": 1, "Usage": 1}


def test_the_state_of_a_project_without_limits(host: Host, project: Project) -> None:
    name = project("open")
    create(host, name, "one", config={"limits.cpu": "2"})

    resources = host.get(f"/1.0/projects/{name}/state")["resources"]

    words = ("containers", "cpu", "disk", "instances", "memory", "networks", "processes", "virtual-machines")
    assert sorted(resources) == sorted(words)
    assert resources["cpu"] == {"Limit": -1, "Usage": 2}
    assert resources["instances"] == {"Limit": -1, "Usage": 1}
