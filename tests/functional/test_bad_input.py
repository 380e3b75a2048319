"""Bad input: a sentence that names the thing and the remedy, the right status, nothing left behind."""

from typing import Any

import pytest

from tests.hosts import Host
from tests.hosts.api import ApiError

IMAGE = {"type": "image", "alias": "busybox"}
ROOT = {"type": "disk", "path": "/", "pool": "default"}


@pytest.mark.parametrize(
    ("document", "code", "sentence"),
    [
        ({"name": "x1", "source": {"type": "image", "alias": "missing"}}, 404, "missing"),
        ({"name": "x1", "source": {"type": "image", "fingerprint": "ffff"}}, 404, "ffff|not found"),
        ({"name": "1x", "source": IMAGE}, 400, "Invalid instance name '1x'"),
        ({"name": "x_1", "source": IMAGE}, 400, "only letters, digits and hyphens"),
        ({"name": "x-", "source": IMAGE}, 400, "not ending with a hyphen"),
        ({"name": "x" * 64, "source": IMAGE}, 400, "longer than 63"),
        ({"name": "../x", "source": IMAGE}, 400, "Invalid instance name"),
        ({"name": "x1", "source": IMAGE, "profiles": ["missing"]}, 400, "Requested profile 'missing' doesn't exist"),
        ({"name": "x1", "source": IMAGE, "config": {"limits.memroy": "1GiB"}}, 400, "limits.memroy.*limits.memory"),
        ({"name": "x1", "source": IMAGE, "config": {"limits.memory": "lots"}}, 400, "invalid size 'lots'"),
        ({"name": "x1", "source": IMAGE, "config": {"security.nesting": "maybe"}}, 400, "true or false"),
        ({"name": "x1", "source": IMAGE, "config": {"limits.cpu.allowance": "half"}}, 400, "50% or 25ms/100ms"),
        ({"name": "x1", "source": IMAGE, "profiles": []}, 400, "No root device could be found"),
        (
            {"name": "x1", "source": IMAGE, "profiles": [], "devices": {"root": {**ROOT, "pool": "missing"}}},
            404,
            "Storage pool 'missing' not found",
        ),
        ({"name": "x1", "source": IMAGE, "devices": {"n": {"type": "nic", "network": "missing"}}}, 404, "missing"),
        ({"name": "x1", "source": IMAGE, "devices": {"n": {"type": "nic", "nictype": "odd"}}}, 400, "odd"),
        ({"name": "x1", "source": IMAGE, "devices": {"n": {"type": "teapot"}}}, 400, "teapot"),
        ({"name": "x1", "source": IMAGE, "devices": {"n": {}}}, 400, "Missing device type"),
        ({"name": "x1", "source": IMAGE, "devices": {"root": {**ROOT, "szie": "1GiB"}}}, 400, "szie.*size"),
        ({"name": "x1", "source": {"type": "copy", "source": "missing"}}, 404, "missing"),
        ({"name": "x1", "source": {"type": "odd"}}, 501, "odd"),
        ({"name": "x1", "type": "virtual-machine", "source": IMAGE}, 400, "virtual-machine"),
        ({"name": "x1", "source": IMAGE, "config": 5}, 400, "config"),
    ],
)
def test_a_create_that_cannot_succeed_is_refused_at_once(
    host: Host, document: dict[str, Any], code: int, sentence: str
) -> None:
    before = _everything(host)
    with pytest.raises(ApiError, match=sentence) as caught:
        host.call("POST", "/1.0/instances", document)
    assert caught.value.code == code
    assert _everything(host) == before


def test_a_taken_name_is_accepted_and_fails_as_an_operation(host: Host) -> None:
    host.create("taken", "busybox", start=False)
    before = _everything(host)
    with pytest.raises(ApiError, match="'taken' already exists"):
        host.call("POST", "/1.0/instances", {"name": "taken", "source": IMAGE})
    assert _everything(host) == before
    host.delete("taken")


def _everything(host: Host) -> list[Any]:
    urls = ("/1.0/instances", "/1.0/images", "/1.0/profiles", "/1.0/networks", "/1.0/storage-pools")
    found: list[Any] = [host.get(url) for url in urls]
    found.append(sorted(path.name for path in (host.directory / "instances").glob("*/*")))
    pool = host.directory / "storage-pools" / "default"
    found.append(sorted(str(path.relative_to(pool)) for path in pool.glob("*/*/*")))
    return found


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "sentence"),
    [
        ("POST", "/1.0/storage-pools", {"name": "p", "driver": "floppy"}, 400, "floppy.*overlay"),
        ("POST", "/1.0/storage-pools", {"name": "p"}, 400, "No driver"),
        ("POST", "/1.0/storage-pools", {"name": "../p", "driver": "dir"}, 400, "Invalid storage pool name"),
        ("POST", "/1.0/storage-pools", {"name": "default", "driver": "dir"}, 409, "already exists"),
        ("POST", "/1.0/storage-pools", {"name": "p", "driver": "btrfs", "config": {"size": "big"}}, 400, "big"),
        ("POST", "/1.0/storage-pools", {"name": "p", "driver": "dir", "config": {"odd": "1"}}, 400, "odd"),
        ("DELETE", "/1.0/storage-pools/default", None, 400, "currently in use"),
        ("DELETE", "/1.0/storage-pools/missing", None, 404, "Storage pool not found"),
        ("POST", "/1.0/networks", {"name": "far-too-long-a-name", "type": "bridge"}, 400, "far-too-long-a-name"),
        ("POST", "/1.0/networks", {"name": "n1", "type": "odd"}, 400, "odd.*bridge"),
        ("POST", "/1.0/networks", {"name": "hutchbr0", "type": "bridge"}, 409, "already exists"),
        ("POST", "/1.0/networks", {"name": "lo", "type": "bridge"}, 400, "'lo'"),
        ("POST", "/1.0/networks", {"name": "n1", "config": {"ipv4.address": "10.0.0.300/24"}}, 400, "10.0.0.300"),
        ("POST", "/1.0/networks", {"name": "n1", "config": {"ipv4.adress": "none"}}, 400, "ipv4.adress.*ipv4.address"),
        ("DELETE", "/1.0/networks/hutchbr0", None, 400, "in use"),
        ("POST", "/1.0/profiles", {"name": "a/b"}, 400, "a/b"),
        ("POST", "/1.0/profiles", {"name": "default"}, 409, "already exists"),
        ("DELETE", "/1.0/profiles/default", None, 403, "cannot be deleted"),
        ("GET", "/1.0/instances/missing", None, 404, "Instance not found"),
        ("PUT", "/1.0/instances/missing/state", {"action": "start"}, 404, "Instance not found"),
        ("GET", "/1.0/instances/missing/snapshots", None, 404, "Instance not found"),
        ("GET", "/1.0/nothing", None, 404, "not found"),
        ("POST", "/1.0/instances/missing/state", None, 501, "not implemented"),
        ("PATCH", "/1.0", {"config": {"core.odd": "1"}}, 400, "core.odd"),
        ("POST", "/1.0/instances?project=missing", {"name": "x1", "source": IMAGE}, 404, "Project not found"),
    ],
)
def test_bad_requests_name_the_thing(host: Host, method: str, path: str, body: Any, code: int, sentence: str) -> None:
    before = _everything(host)
    with pytest.raises(ApiError, match=sentence) as caught:
        host.call(method, path, body)
    assert caught.value.code == code
    assert _everything(host) == before


def test_bad_changes_of_an_instance_change_nothing(host: Host) -> None:
    host.create("fixed", "busybox")
    before = host.get("/1.0/instances/fixed")
    for body, sentence in (
        ({"config": {"limits.memory": "-5"}}, "-5"),
        ({"config": {"odd.key": "1"}}, "odd.key"),
        ({"devices": {"x": {"type": "nic", "network": "missing"}}}, "missing"),
        ({"profiles": ["missing"]}, "missing"),
        ({"config": {"security.privileged": "true"}}, "while the instance is running"),
    ):
        with pytest.raises(ApiError, match=sentence):
            host.call("PATCH", "/1.0/instances/fixed", body)
    assert host.get("/1.0/instances/fixed") == before
    for action in ("explode", ""):
        with pytest.raises(ApiError, match="Unknown state action"):
            host.call("PUT", "/1.0/instances/fixed/state", {"action": action})
    host.delete("fixed")


def test_bad_snapshots(host: Host) -> None:
    host.create("snapped", "busybox", start=False)
    for name in ("a/b", "a b", ".hidden"):
        with pytest.raises(ApiError, match="Invalid snapshot name"):
            host.call("POST", "/1.0/instances/snapped/snapshots", {"name": name})
    host.call("POST", "/1.0/instances/snapped/snapshots", {"name": "s1"})
    with pytest.raises(ApiError, match="already exists"):
        host.call("POST", "/1.0/instances/snapped/snapshots", {"name": "s1"})
    with pytest.raises(ApiError, match="snapshot not found"):
        host.call("PUT", "/1.0/instances/snapped", {"restore": "missing"})
    assert host.get("/1.0/instances/snapped/snapshots") == ["/1.0/instances/snapped/snapshots/s1"]
    host.delete("snapped")
