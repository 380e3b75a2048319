"""Warnings: raised by what is really wrong, acknowledged, resolved when it has passed."""

import json
import shutil
from collections.abc import Callable

import pytest

from tests.hosts import ApiError, Host

POOL, NETWORK, LXCFS = "Storage pool unavailable", "Network unavailable", "LXCFS is not available"


def _by_type(host: Host) -> dict[str, dict[str, str]]:
    return {each["type"]: each for each in host.get("/1.0/warnings?recursion=1")}


def test_what_is_not_available_at_the_start_is_warned_of_until_it_is(hosts: Callable[..., Host]) -> None:
    host = hosts(lxcfs=False)
    away = host.folder / "away"
    away.mkdir()
    host.call("POST", "/1.0/storage-pools", {"name": "lost", "driver": "dir", "config": {"source": str(away)}})
    host.call("POST", "/1.0/networks", {"name": "taken0", "config": {"ipv4.address": "none", "ipv6.address": "none"}})
    host.stop()
    shutil.move(away, host.folder / "elsewhere")
    host.run("ip", "link", "delete", "taken0")
    host.run("ip", "link", "add", "taken0", "type", "veth", "peer", "name", "taken1")
    host.start()

    found = _by_type(host)
    assert set(found) == {POOL, NETWORK, LXCFS}
    assert (found[POOL]["severity"], found[POOL]["status"], found[POOL]["count"]) == ("high", "new", 1)
    assert found[POOL]["entity_url"] == "/1.0/storage-pools/lost"
    assert found[NETWORK]["entity_url"] == "/1.0/networks/taken0"
    assert "lost" in found[POOL]["last_message"]
    listed = json.loads(host.hutch("warning", "list", "--format", "json").stdout)
    assert {each["type"] for each in listed} == set(found)
    if shutil.which("lxc"):
        assert POOL in host.lxc("warning", "list", "--format", "csv").stdout

    path = f"/1.0/warnings/{found[POOL]['uuid']}"
    host.hutch("warning", "acknowledge", found[POOL]["uuid"])
    assert host.get(path)["status"] == "acknowledged"
    with pytest.raises(ApiError, match="Status may only be set"):
        host.call("PUT", path, {"status": "resolved"})
    host.stop()
    shutil.move(host.folder / "elsewhere", away)
    host.start()
    found = _by_type(host)
    assert (found[POOL]["status"], found[NETWORK]["status"], found[NETWORK]["count"]) == ("resolved", "new", 2)
    assert POOL not in host.hutch("warning", "list").stdout

    host.call("DELETE", "/1.0/storage-pools/lost")
    assert POOL not in _by_type(host)
    host.hutch("warning", "delete", "--all")
    assert host.get("/1.0/warnings") == []
