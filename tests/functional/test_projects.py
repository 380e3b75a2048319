"""Projects: what each sees, how they are made, changed, renamed and deleted."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.hosts import Host
from tests.hosts.api import ApiError
from tests.hosts.host import NETWORK, POOL

Project = Callable[..., str]
ROOT = {"root": {"type": "disk", "path": "/", "pool": POOL}}


def launch(host: Host, project: str, name: str, **document: Any) -> None:
    source = {"type": "image", "alias": "busybox"}
    document = {"devices": ROOT, **document}
    host.call("POST", f"/1.0/instances?project={project}", {"name": name, "source": source, **document})


def test_a_new_project_has_its_own_images_profiles_and_volumes(host: Host, project: Project) -> None:
    project("plain")

    found = host.get("/1.0/projects/plain")
    own = ("features.images", "features.profiles", "features.storage.buckets", "features.storage.volumes")
    assert found["config"] == dict.fromkeys(own, "true")
    assert found["used_by"] == ["/1.0/profiles/default?project=plain"]
    assert "/1.0/projects/plain" in host.get("/1.0/projects")
    assert host.get("/1.0/images?project=plain") == []
    assert host.get("/1.0/profiles?project=plain") == ["/1.0/profiles/default?project=plain"]


def test_what_a_project_shares_is_the_default_projects(host: Host, project: Project) -> None:
    project("sharing", features_images="false", features_profiles="false")

    assert len(host.get("/1.0/images?project=sharing")) == len(host.get("/1.0/images"))
    launch(host, "sharing", "same", devices={})
    expanded = host.get("/1.0/instances/same?project=sharing")["expanded_devices"]
    assert expanded == host.get("/1.0/profiles/default")["devices"]
    assert "/1.0/instances/same?project=sharing" in host.get("/1.0/profiles/default")["used_by"]


def test_a_change_of_a_shared_profile_is_seen_in_every_project(host: Host, project: Project) -> None:
    project("tenant", features_images="false", features_profiles="false")
    host.call("POST", "/1.0/profiles", {"name": "shared-one", "config": {"user.a": "1"}, "devices": ROOT})
    try:
        launch(host, "tenant", "reader", profiles=["shared-one"], devices={})
        host.call("PATCH", "/1.0/profiles/shared-one?project=tenant", {"config": {"user.a": "2"}})
        listed = host.get("/1.0/instances?project=tenant&recursion=1")
        assert listed[0]["expanded_config"]["user.a"] == "2"
        with pytest.raises(ApiError, match="in use"):
            host.call("DELETE", "/1.0/profiles/shared-one")
    finally:
        host.call("DELETE", "/1.0/instances/reader?project=tenant")
        host.call("DELETE", "/1.0/profiles/shared-one")


def test_two_projects_run_instances_of_one_name(host: Host, project: Project, guest: Callable[..., str]) -> None:
    name = guest()
    project("twin", features_images="false")

    launch(host, "twin", name)
    host.call("PUT", f"/1.0/instances/{name}/state?project=twin", {"action": "start"})

    states = [host.get(f"/1.0/instances/{name}/state{query}") for query in ("", "?project=twin")]
    assert [each["status"] for each in states] == ["Running", "Running"]
    assert states[0]["pid"] != states[1]["pid"]
    assert host.get("/1.0/instances?project=twin") == [f"/1.0/instances/{name}?project=twin"]
    assert f"/1.0/instances/{name}?project=twin" not in host.get("/1.0/instances")
    assert f"/1.0/instances/{name}?project=twin" in host.get("/1.0/instances?all-projects=true")


def test_networks_of_a_project_are_seen_by_no_other(host: Host, project: Project) -> None:
    project("wired", features_images="false", features_networks="true")

    assert host.get("/1.0/networks?project=wired") == []
    host.call("POST", "/1.0/networks?project=wired", {"name": "wiredbr0", "config": {"ipv6.address": "none"}})
    assert host.get("/1.0/networks?project=wired") == ["/1.0/networks/wiredbr0?project=wired"]
    assert not [url for url in host.get("/1.0/networks") if "wiredbr0" in url]
    with pytest.raises(ApiError, match="exists"):
        host.call("POST", "/1.0/networks", {"name": "wiredbr0"})
    with pytest.raises(ApiError, match=f"'{NETWORK}' not found"):
        launch(host, "wired", "lost", devices={**ROOT, "eth0": {"type": "nic", "network": NETWORK}})
    launch(host, "wired", "found", devices={**ROOT, "eth0": {"type": "nic", "network": "wiredbr0"}})
    assert host.get("/1.0/networks/wiredbr0?project=wired")["used_by"] == ["/1.0/instances/found?project=wired"]


def test_a_project_is_in_use_while_it_has_an_acl_or_a_volume(host: Host, project: Project) -> None:
    project("kept", features_networks="true")
    things = {
        "/1.0/network-acls/fence?project=kept": ("/1.0/network-acls?project=kept", {"name": "fence"}),
        f"/1.0/storage-pools/{POOL}/volumes/custom/data?project=kept": (
            f"/1.0/storage-pools/{POOL}/volumes/custom?project=kept",
            {"name": "data"},
        ),
    }

    for url, (family, wanted) in things.items():
        host.call("POST", family, wanted)
        assert url in host.get("/1.0/projects/kept")["used_by"]
        with pytest.raises(ApiError, match="Only empty projects"):
            host.call("DELETE", "/1.0/projects/kept")
        host.call("DELETE", url)


def test_features_change_only_while_a_project_is_empty(host: Host, project: Project) -> None:
    project("moving")

    host.call("PATCH", "/1.0/projects/moving", {"config": {"features.profiles": "false", "features.images": "false"}})
    assert host.get("/1.0/projects/moving")["used_by"] == []
    host.call("PATCH", "/1.0/projects/moving", {"config": {"features.profiles": "true"}})
    assert host.get("/1.0/projects/moving")["used_by"] == ["/1.0/profiles/default?project=moving"]
    launch(host, "moving", "holder")
    with pytest.raises(ApiError, match="cannot be changed on non-empty projects"):
        host.call("PATCH", "/1.0/projects/moving", {"config": {"features.profiles": "false"}})
    with pytest.raises(ApiError, match="You can't change the features of the default project"):
        host.call("PATCH", "/1.0/projects/default", {"config": {"features.images": "false"}})


def test_only_empty_projects_are_renamed_and_removed(host: Host, project: Project) -> None:
    host.call("POST", "/1.0/projects", {"name": "before"})
    host.call("POST", "/1.0/projects/before", {"name": "after"})
    assert host.get("/1.0/projects/after")["used_by"] == ["/1.0/profiles/default?project=after"]
    host.call("DELETE", "/1.0/projects/after")

    project("full", features_images="false")
    launch(host, "full", "stone")
    for method, body in (("DELETE", None), ("POST", {"name": "elsewhere"})):
        with pytest.raises(ApiError, match="Only empty projects can be re"):
            host.call(method, "/1.0/projects/full", body)
        with pytest.raises(ApiError, match="The 'default' project cannot be"):
            host.call(method, "/1.0/projects/default", body)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "No name provided"),
        ("a/b", "may not contain slashes"),
        ("a_b", "may not contain underscores"),
        ("a b", "may not contain spaces"),
        ("*", "Reserved"),
        ("..", "Invalid project name"),
        ("default", "already exists"),
    ],
)
def test_names_that_no_project_may_have(host: Host, name: str, sentence: str) -> None:
    with pytest.raises(ApiError, match=sentence):
        host.call("POST", "/1.0/projects", {"name": name})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("limits.instances", "-1"),
        ("limits.memory", "much"),
        ("restricted", "perhaps"),
        ("restricted.containers.privilege", "some"),
        ("restricted.devices.disk.paths", "relative"),
        ("restricted.idmap.uid", "9-1"),
        ("restricted.networks.subnets", "uplink"),
        ("features.image", "true"),
    ],
)
def test_keys_and_values_that_no_project_takes(host: Host, key: str, value: str) -> None:
    with pytest.raises(ApiError, match=key):
        host.call("POST", "/1.0/projects", {"name": "bad", "config": {key: value}})


def test_a_project_is_edited_with_its_etag(host: Host, project: Project) -> None:
    project("edited")
    _, headers, _ = host.api.raw("GET", "/1.0/projects/edited")

    wanted = {"description": "new", "config": {"user.note": "x"}}
    host.call("PATCH", "/1.0/projects/edited", wanted, headers={"If-Match": headers["etag"]})
    with pytest.raises(ApiError, match="ETag") as refusal:
        host.call("PATCH", "/1.0/projects/edited", {"description": "old"}, headers={"If-Match": headers["etag"]})

    assert refusal.value.code == 412
    assert host.get("/1.0/projects/edited")["description"] == "new"


def test_a_project_says_how_its_images_are_compressed(host: Host, project: Project) -> None:
    for algorithm, suffix in (("none", ".tar"), ("zstd", ".tar.zst")):
        name = project(f"packed-{algorithm}")
        host.call("PATCH", f"/1.0/projects/{name}", {"config": {"images.compression_algorithm": algorithm}})
        wanted = {"name": "one", "source": {"type": "image", "alias": "busybox", "project": "default"}, "devices": ROOT}
        host.call("POST", f"/1.0/instances?project={name}", wanted)
        source = {"type": "instance", "name": "one"}
        made = host.call("POST", f"/1.0/images?project={name}", {"source": source})["metadata"]["fingerprint"]
        _, headers, _ = host.api.raw("GET", f"/1.0/images/{made}/export?project={name}")
        assert headers["content-disposition"].endswith(f"{made}{suffix}")
