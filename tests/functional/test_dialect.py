"""How the API is spoken: what every kind of thing has in common, box by box of what clients rely on."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.functional.streams import connected
from tests.hosts import ApiError, Host

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
KINDS = {
    "/1.0/instances/dialect": ("description", "config"),
    "/1.0/profiles/dialect": ("description", "config"),
    "/1.0/networks/dialect": ("description", "config"),
    "/1.0/projects/dialect": ("description", "config"),
    "/1.0/storage-pools/default": ("description", "config"),
    "/1.0/storage-pools/default/volumes/custom/dialect": ("description", "config"),
    "/1.0/images/aliases/dialect": ("description", None),
    "/1.0/images/FINGERPRINT": (None, "properties"),
}
"""One of each kind that is edited, with its text and its map."""


Things = Callable[[str], str]


@pytest.fixture(scope="module")
def things(host: Host) -> Iterator[Things]:
    """Makes one of each kind; a function from the path in KINDS to the real one."""
    fingerprint = host.get("/1.0/images/aliases/busybox")["target"]
    host.create("dialect", "busybox", start=False)
    host.call("POST", "/1.0/profiles", {"name": "dialect"})
    host.call("POST", "/1.0/networks", {"name": "dialect", "config": {"ipv4.address": "none", "ipv6.address": "none"}})
    host.call("POST", "/1.0/projects", {"name": "dialect"})
    host.call("POST", "/1.0/storage-pools/default/volumes/custom", {"name": "dialect"})
    host.call("POST", "/1.0/images/aliases", {"name": "dialect", "target": fingerprint})
    yield lambda kind: kind.replace("FINGERPRINT", fingerprint)
    for path in (
        "instances",
        "profiles",
        "networks",
        "projects",
        "storage-pools/default/volumes/custom",
        "images/aliases",
    ):
        host.call("DELETE", f"/1.0/{path}/dialect")


def _tag(host: Host, path: str) -> str:
    return host.api.raw("GET", path)[1]["etag"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_of_what_has_changed_since_is_refused(host: Host, things: Things, kind: str) -> None:
    path, (text, words) = things(kind), KINDS[kind]
    change: dict[str, Any] = {text: "changed"} if text else {words: {"user.changed": "1"}}

    old = _tag(host, path)
    host.call("PATCH", path, change, headers={"If-Match": old})
    assert _tag(host, path) != old
    for method in ("PATCH", "PUT"):
        status, _, body = host.api.raw(method, path, change, {"If-Match": old})
        assert (status, json.loads(body)["error_code"]) == (412, 412)
        assert "ETag doesn't match: " in json.loads(body)["error"]
    host.call("PATCH", path, change, headers={"If-Match": _tag(host, path).strip('"')})


@pytest.mark.parametrize("kind", [kind for kind, (_, words) in KINDS.items() if words])
def test_patch_merges_and_put_replaces(host: Host, things: Things, kind: str) -> None:
    path, words = things(kind), KINDS[kind][1]
    before = host.get(path)

    host.call("PATCH", path, {words: {"user.a": "1"}})
    host.call("PATCH", path, {words: {"user.b": "2"}})
    found = host.get(path)
    assert found[words].items() >= (before[words] | {"user.a": "1", "user.b": "2"}).items()
    assert {name: found[name] for name in ("description", "profiles", "devices") if name in found} == {
        name: before[name] for name in ("description", "profiles", "devices") if name in before
    }
    del found[words]["user.a"]
    host.call("PUT", path, found)
    assert "user.a" not in host.get(path)[words]
    assert host.get(path)[words]["user.b"] == "2"
    host.call("PUT", path, before)


def test_a_put_of_an_instance_without_a_member_empties_it(host: Host, things: Things) -> None:
    before = host.get("/1.0/instances/dialect")

    host.call("PUT", "/1.0/instances/dialect", {"profiles": ["default"], "config": {"user.x": "1"}})

    found = host.get("/1.0/instances/dialect")
    assert (found["description"], found["devices"], found["config"]["user.x"]) == ("", {}, "1")
    assert found["config"]["volatile.uuid"] == before["config"]["volatile.uuid"]
    host.call("PUT", "/1.0/instances/dialect", before)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/1.0/instances", {"name": "no", "source": {"type": "none"}, "config": {"limits.memorry": "1GiB"}}),
        ("/1.0/instances", {"name": "no", "source": {"type": "none"}, "devices": {"d": {"type": "disk", "pth": "/a"}}}),
        ("/1.0/profiles", {"name": "no", "config": {"boot.autostrat": "true"}}),
        ("/1.0/networks", {"name": "no", "type": "bridge", "config": {"ipv4.adress": "none"}}),
        ("/1.0/storage-pools", {"name": "no", "driver": "dir", "config": {"sourc": "/tmp"}}),
        ("/1.0/storage-pools/default/volumes/custom", {"name": "no", "config": {"sise": "1GiB"}}),
        ("/1.0/projects", {"name": "no", "config": {"features.image": "true"}}),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(host: Host, path: str, body: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match=r"Unknown configuration key: .* \(did you mean ") as refused:
        host.call("POST", path, body)
    assert refused.value.code == 400


def test_an_unknown_key_of_the_server_is_refused_with_the_nearest_one(host: Host) -> None:
    with pytest.raises(ApiError, match=r"did you mean core\.https_address"):
        host.call("PATCH", "/1.0", {"config": {"core.https_adress": ":8443"}})


@pytest.mark.parametrize(
    ("listing", "wanted"),
    [
        ("instances", "name eq DIALECT"),
        ("profiles", "name eq dialect"),
        ("networks", "name eq dial.*"),
        ("projects", "not name eq default and (name eq dialect or name eq other)"),
        ("storage-pools/default/volumes", "name eq dialect and type eq custom"),
    ],
)
def test_listings_are_filtered_whatever_the_recursion(host: Host, things: Things, listing: str, wanted: str) -> None:
    for recursion in (0, 1):
        found = host.get(f"/1.0/{listing}?recursion={recursion}&filter={quote(wanted)}")
        names = [each.rpartition("/")[2] if recursion == 0 else each["name"] for each in found]
        assert names == ["dialect"]


def test_images_are_filtered_by_their_properties(host: Host, things: Things) -> None:
    (found,) = host.get("/1.0/images?recursion=1&filter=" + quote("properties.os eq busybox"))
    assert found["properties"]["os"].lower() == "busybox"


@pytest.mark.parametrize(
    ("fields", "kept"), [("", set()), ("state.network", {"network"}), ("state.disk,state.network", {"disk", "network"})]
)
def test_only_the_wanted_parts_of_the_state_are_read(host: Host, things: Things, fields: str, kept: set[str]) -> None:
    every = host.get(f"/1.0/instances?recursion=2;fields={fields}&filter={quote('name eq dialect')}")
    one = host.get(f"/1.0/instances/dialect?recursion=1;fields={fields}")

    for found in (*every, one):
        assert found["name"] == "dialect"
        if not fields:
            assert found["state"] is None
            continue
        assert found["state"]["status"] == "Stopped"
        assert (found["state"]["disk"] is not None) == ("disk" in kept)


def test_times_are_as_go_writes_them(host: Host, things: Things) -> None:
    def times(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for name, inner in value.items():
                if name.endswith("_at") and inner:
                    yield inner
                yield from times(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from times(inner)

    found = [
        host.get(f"/1.0/{path}?recursion=2")
        for path in ("instances", "images", "storage-pools/default/volumes", "operations")
    ]
    stamps = list(times(found))
    assert stamps
    assert [each for each in stamps if not STAMP.fullmatch(each)] == []


def test_bodies_are_read_leniently(host: Host, things: Things) -> None:
    """Ansible sends a JSON body with GET and no Content-Type, pylxd null for what it does not say."""
    assert host.api.raw("GET", "/1.0/instances/dialect", b"null")[0] == 200
    body = b'{"description": "lenient", "config": null, "devices": null, "unknown": [1], "ephemeral": null}'
    assert host.api.raw("PATCH", "/1.0/instances/dialect", body)[0] == 200
    assert host.get("/1.0/instances/dialect")["description"] == "lenient"
    made = b'{"name": "untyped", "source": {"type": "none"}}'
    status, headers, _ = host.api.raw("POST", "/1.0/instances", made)
    assert status == 202
    host.api.wait(headers["location"])
    host.delete("untyped")
    host.call("PATCH", "/1.0/profiles/dialect", {"config": {"limits.cpu": 2, "security.nesting": True, "user.n": None}})
    assert (
        host.get("/1.0/profiles/dialect")["config"].items() >= {"limits.cpu": "2", "security.nesting": "true"}.items()
    )
    host.call("PATCH", "/1.0/profiles/dialect", {"config": {"limits.cpu": "", "security.nesting": ""}})


def test_answers_have_all_seven_members(host: Host) -> None:
    members = {"type", "status", "status_code", "operation", "error_code", "error", "metadata"}
    for path, wanted in (("/1.0", 200), ("/1.0/instances/nothing", 404), ("/nowhere", 404)):
        status, headers, body = host.api.raw("GET", path)
        assert (status, set(json.loads(body))) == (wanted, members)
        assert headers["content-type"].startswith("application/json")
    status, _, body = host.api.raw("DELETE", "/1.0/instances")
    assert (status, json.loads(body)["error"]) == (501, "not implemented")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("instances/no", "Instance not found"),
        ("profiles/no", "Profile not found"),
        ("networks/no", "Network not found"),
        ("projects/no", "Project not found"),
        ("storage-pools/no", "Storage pool not found"),
        ("images/no", "Image not found"),
        ("images/aliases/no", "Image alias not found"),
        ("operations/no", "Operation not found"),
        ("certificates/no", "Certificate not found"),
        ("warnings/no", "Warning not found"),
    ],
)
def test_what_is_not_there_is_named(host: Host, path: str, words: str) -> None:
    with pytest.raises(ApiError, match=words) as refused:
        host.get(f"/1.0/{path}")
    assert refused.value.code == 404


def test_legacy_paths_list_what_they_are_asked_for(host: Host, things: Things) -> None:
    assert "/1.0/containers/dialect" in host.get("/1.0/containers")
    assert host.get("/1.0/virtual-machines") == []
    assert host.get("/1.0/containers/dialect")["name"] == "dialect"
    assert host.get("/1.0/containers/dialect/state")["status"] == "Stopped"


async def test_events_say_who_asked(host: Host) -> None:
    wanted = [
        ("POST", "/1.0/profiles", {"name": "watched"}, "profile-created"),
        ("PATCH", "/1.0/profiles/watched", {"description": "x"}, "profile-updated"),
        ("POST", "/1.0/profiles/watched", {"name": "watched2"}, "profile-renamed"),
        ("DELETE", "/1.0/profiles/watched2", None, "profile-deleted"),
        ("POST", "/1.0/instances", {"name": "watched", "source": {"type": "none"}}, "instance-created"),
        ("POST", "/1.0/instances/watched/snapshots", {"name": "s"}, "instance-snapshot-created"),
        ("DELETE", "/1.0/instances/watched/snapshots/s", None, "instance-snapshot-deleted"),
        ("POST", "/1.0/instances/watched", {"name": "watched2"}, "instance-renamed"),
        ("DELETE", "/1.0/instances/watched2", None, "instance-deleted"),
        ("POST", "/1.0/projects", {"name": "watched"}, "project-created"),
        ("DELETE", "/1.0/projects/watched", None, "project-deleted"),
        ("PATCH", "/1.0", {"config": {"user.watched": "1"}}, "config-updated"),
        ("PATCH", "/1.0", {"config": {"user.watched": ""}}, "config-updated"),
    ]
    async with connected(host) as session:
        events = await session.ws_connect("http://hutch/1.0/events?type=lifecycle&all-projects=true")
        for method, path, body, _ in wanted:
            await asyncio.to_thread(host.call, method, path, body)
        seen: list[dict[str, Any]] = []
        while len(seen) < len(wanted):
            event = json.loads((await events.receive(timeout=10)).data)
            if "watched" in event["metadata"]["source"] or event["metadata"]["action"] == "config-updated":
                seen.append(event["metadata"])
        await events.close()
    assert [each["action"] for each in seen] == [action for *_, action in wanted]
    assert {tuple(each["requestor"].values()) for each in seen} == {("root", "unix", "@0")}


def test_the_environment_says_what_the_host_can(host: Host) -> None:
    found = host.get("/1.0")["environment"]
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(), re.MULTILINE))

    assert (found["os_name"], found["os_version"]) == (release["NAME"], release.get("VERSION_ID", ""))
    assert (found["driver"], found["firewall"]) == ("lxc", "nftables")
    assert {"idmapped_mounts", "netnsid_getifaddrs", "seccomp_listener"} <= set(found["kernel_features"])
    assert {"cgroup2", "pidfd", "seccomp_notify"} <= set(found["lxc_features"])
    assert {"overlay", "btrfs", "dir"} <= {each["Name"] for each in found["storage_supported_drivers"]}


def test_operations_tell_of_what_they_are_about(host: Host, things: Things) -> None:
    begun = host.api.begin("PUT", "/1.0/instances/dialect", host.get("/1.0/instances/dialect"))["metadata"]
    assert begun["resources"] == {name: [f"/1.0/{name}/dialect"] for name in ("instances", "containers")}
    assert (begun["class"], begun["description"], begun["location"]) == ("task", "Updating instance", "none")
    host.api.wait(f"/1.0/operations/{begun['id']}")
    listed = host.get("/1.0/operations?recursion=1")["success"]
    assert begun["id"] in [each["id"] for each in listed]


def test_pages_of_the_allowed_origin_may_ask(host: Host) -> None:
    allowed = {"origin": "https://ui.test", "methods": "GET, PUT", "headers": "Content-Type", "credentials": "true"}
    config = {f"core.https_allowed_{name}": value for name, value in allowed.items()}
    page = {"Origin": "https://ui.test"}
    assert "access-control-allow-origin" not in host.api.raw("GET", "/1.0", headers=page)[1]
    host.call("PATCH", "/1.0", {"config": config})
    try:
        for method in ("GET", "OPTIONS"):
            status, headers, _ = host.api.raw(method, "/1.0", headers=page)
            assert status == 200
            shown = {name: headers[f"access-control-allow-{name}"] for name in allowed}
            assert shown == allowed
        assert "access-control-allow-origin" not in host.api.raw("GET", "/1.0")[1]
    finally:
        host.call("PATCH", "/1.0", {"config": dict.fromkeys(config, "")})
