"""The `incus` client: what it shares with `lxc`, and its own dialect (X-Incus headers, `trust_token`)."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.hosts import Host
from tests.hosts.host import INCUS

pytestmark = pytest.mark.skipif(INCUS is None, reason="the client of Incus is not installed")

Free = Callable[[str], str]


def incus(host: Host, *words: str, input: str | None = None) -> str:
    """What it printed on its standard output."""
    return host.incus(*words, input=input).stdout


def refused(host: Host, *words: str) -> str:
    """Its error, for a command that must fail."""
    done = host.incus(*words, check=False)
    assert done.returncode != 0, f"incus {' '.join(words)} succeeded"
    return done.stderr


@pytest.fixture
def free(host: Host) -> Iterator[Free]:
    """Names for instances, deleted after the test."""
    used: list[str] = []

    def name(stem: str) -> str:
        used.append(f"incus-{stem}")
        return used[-1]

    yield name
    for each in used:
        if host.api.exists(f"/1.0/instances/{each}"):
            host.delete(each)


@pytest.fixture(scope="module")
def shared(host: Host) -> Iterator[str]:
    """A running guest for tests that only look, or put things back."""
    host.create("incus-shared", "busybox")
    yield "incus-shared"
    host.delete("incus-shared")


def test_version_and_info(host: Host) -> None:
    assert "Server version: " in incus(host, "version")
    found = yaml.safe_load(incus(host, "info"))
    assert found["auth"] == "trusted"
    assert found["environment"]["driver"]


def test_launch_list_stop_start_delete(host: Host, free: Free) -> None:
    name = free("life")
    incus(host, "launch", "busybox", name, "-c", "user.colour=blue", "-d", "root,size=1GiB")

    (found,) = json.loads(incus(host, "list", f"^{name}$", "-f", "json"))
    assert found["status"] == "Running"
    assert found["expanded_config"]["user.colour"] == "blue"
    assert incus(host, "config", "get", name, "user.colour") == "blue\n"

    incus(host, "stop", "--force", name)
    assert incus(host, "list", f"^{name}$", "-c", "s", "-f", "csv").strip() == "STOPPED"
    incus(host, "start", name)
    assert "currently running" in refused(host, "delete", name)
    incus(host, "delete", "--force", name)
    assert not host.api.exists(f"/1.0/instances/{name}")


def test_exec_passes_status_and_output(host: Host, shared: str) -> None:
    assert incus(host, "exec", shared, "--", "echo", "hello") == "hello\n"
    done = host.incus("exec", shared, "--cwd", "/tmp", "--", "sh", "-c", "pwd; exit 7", check=False)
    assert (done.returncode, done.stdout) == (7, "/tmp\n")


def test_owner_and_mode_travel_in_its_own_headers(host: Host, shared: str, tmp_path: Path) -> None:
    source = tmp_path / "a file"
    source.write_text("content")

    incus(host, "file", "push", "--uid", "12", "--gid", "34", "--mode", "0640", str(source), f"{shared}/root/pushed")

    assert host.exec(shared, "stat", "-c", "%u %g %a", "/root/pushed").stdout.split() == ["12", "34", "640"]
    incus(host, "file", "pull", f"{shared}/root/pushed", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "content"


def test_snapshot_restore_copy_rename(host: Host, free: Free) -> None:
    name, copy, renamed = free("snap"), free("copy"), free("renamed")
    incus(host, "init", "busybox", name)
    incus(host, "snapshot", "create", name, "s1")
    assert [each["name"] for each in json.loads(incus(host, "snapshot", "list", name, "-f", "json"))] == ["s1"]
    incus(host, "config", "set", name, "user.a=1")
    incus(host, "snapshot", "restore", name, "s1")
    assert incus(host, "config", "get", name, "user.a").strip() == ""
    incus(host, "copy", f"{name}/s1", copy)
    incus(host, "rename", copy, renamed)
    assert host.api.exists(f"/1.0/instances/{renamed}")
    incus(host, "snapshot", "delete", name, "s1")


def test_config_profiles_pools_networks_and_projects(host: Host, shared: str) -> None:
    incus(host, "profile", "create", "incus-made")
    incus(host, "profile", "set", "incus-made", "limits.memory=64MiB")
    incus(host, "profile", "add", shared, "incus-made")
    assert host.get(f"/1.0/instances/{shared}")["expanded_config"]["limits.memory"] == "64MiB"
    incus(host, "profile", "remove", shared, "incus-made")
    incus(host, "profile", "delete", "incus-made")

    assert "default" in incus(host, "storage", "list", "-f", "csv")
    assert "space used" in incus(host, "storage", "info", "default")
    assert "hutchbr0" in incus(host, "network", "list", "-f", "csv")
    assert "ipv4.address" in incus(host, "network", "show", "hutchbr0")
    assert "default" in incus(host, "project", "list", "-f", "csv")
    assert "busybox" in incus(host, "image", "list", "-f", "csv")


def test_a_trust_password_is_shown_to_it_as_text(host: Host) -> None:
    host.call("PATCH", "/1.0", {"config": {"core.trust_password": "secret"}})
    try:
        assert incus(host, "config", "get", "core.trust_password") == "true\n"
    finally:
        host.call("PATCH", "/1.0", {"config": {"core.trust_password": ""}})


def test_query(host: Host) -> None:
    assert json.loads(incus(host, "query", "/1.0"))["api_version"] == "1.0"


def test_the_hosts_hardware_and_warnings(host: Host) -> None:
    assert f"Architecture: {os.uname().machine}" in incus(host, "info", "--resources")
    assert "UUID" in incus(host, "warning", "list")
