"""`hutch project`, `hutch config trust`, `--project` and what a client keeps of each server."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from hutch.client.identity import make
from tests.hosts import Host
from tests.hosts.host import POOL

Run = Callable[..., subprocess.CompletedProcess[str]]
Project = Callable[..., str]
ADDRESS = "https://127.0.0.1:8443"


@pytest.fixture
def hutch(host: Host, tmp_path: Path) -> Iterator[Run]:
    """The client of a user with a configuration of their own, while the shared host serves HTTPS."""
    host.call("PATCH", "/1.0", {"config": {"core.https_address": "127.0.0.1:8443"}})

    def run(*words: str, check: bool = True, **how: str) -> subprocess.CompletedProcess[str]:
        return host.hutch(*words, env={"HUTCH_CONF": str(tmp_path / "conf")}, check=check, **how)

    yield run
    for url in host.get("/1.0/certificates"):
        host.call("DELETE", url)
    host.call("PUT", "/1.0", {"config": {}})


def _rows(run: subprocess.CompletedProcess[str]) -> list[list[str]]:
    return [line.split(",") for line in run.stdout.splitlines()]


def test_a_project_is_made_changed_renamed_and_deleted(host: Host) -> None:
    host.hutch("project", "create", "cli", "-c", "limits.instances=3", "--description", "a test")
    assert host.hutch("project", "get", "cli", "limits.instances").stdout == "3\n"
    host.hutch("project", "set", "cli", "limits.memory=1GiB", "restricted=true")
    host.hutch("project", "unset", "cli", "limits.instances")
    document = yaml.safe_load(host.hutch("project", "show", "cli").stdout)
    assert (document["description"], document["config"]["restricted"]) == ("a test", "true")
    document["description"] = "edited"
    host.hutch("project", "edit", "cli", input=yaml.safe_dump(document))
    host.hutch("project", "rename", "cli", "line")
    listed = _rows(host.hutch("project", "list", "--format", "csv"))
    assert ["line", "YES", "YES", "YES", "YES", "NO", "NO", "edited", "1"] in listed
    host.hutch("project", "delete", "line")
    assert "Project not found" in host.hutch("project", "show", "line", check=False).stderr


def test_a_project_comes_from_yaml(host: Host) -> None:
    wanted = {"description": "piped", "config": {"features.images": "false"}}
    host.hutch("project", "create", "piped", input=yaml.safe_dump(wanted))
    try:
        assert yaml.safe_load(host.hutch("project", "show", "piped").stdout)["config"]["features.images"] == "false"
    finally:
        host.hutch("project", "delete", "piped")


def test_a_preseed_makes_projects_and_their_profiles_and_a_dump_tells_of_them(host: Host, project: Project) -> None:
    project("seeded")
    profile = {"name": "small", "project": "seeded", "config": {"limits.memory": "64MiB"}}
    wanted = {
        "projects": [{"name": "seeded", "description": "by a preseed", "config": {"limits.instances": "3"}}],
        "profiles": [profile, {"name": "default", "project": "seeded", "description": "changed"}],
    }

    for _ in range(2):
        host.hutch("admin", "init", "--preseed", input=yaml.safe_dump(wanted))

    assert host.get("/1.0/projects/seeded")["config"]["limits.instances"] == "3"
    assert host.get("/1.0/profiles/default")["description"] != "changed"
    dumped = yaml.safe_load(host.hutch("admin", "init", "--dump").stdout)
    found = {(each.get("project"), each["name"]): each for each in dumped["profiles"]}
    assert found["seeded", "small"]["config"] == {"limits.memory": "64MiB"}
    assert found["seeded", "default"]["description"] == "changed"


def test_info_shows_limits_beside_what_is_used(host: Host, project: Project) -> None:
    project("shown", limits_memory="1GiB", limits_instances="2")
    disk = {"root": {"type": "disk", "path": "/", "pool": POOL}}
    wanted = {"name": "one", "source": {"type": "none"}, "devices": disk, "config": {"limits.memory": "512MiB"}}
    host.call("POST", "/1.0/instances?project=shown", wanted)

    rows = _rows(host.hutch("project", "info", "shown", "--format", "csv"))

    assert ["MEMORY", "1.00GiB", "512.00MiB"] in rows
    assert ["INSTANCES", "2", "1"] in rows
    assert ["CPU", "UNLIMITED", "0"] in rows


def test_commands_work_in_the_project_that_is_given_or_was_switched_to(project: Project, hutch: Run) -> None:
    project("room", features_images="false")
    hutch("--project", "room", "profile", "device", "add", "default", "root", "disk", "path=/", f"pool={POOL}")
    hutch("init", "busybox", "inside", "--project", "room")
    assert _rows(hutch("list", "--project=room", "-c", "ne", "-f", "csv")) == [["inside", "room"]]
    assert "inside" not in hutch("list", "-f", "csv").stdout
    assert ["room", "inside"] in _rows(hutch("list", "--all-projects", "-c", "en", "-f", "csv"))

    hutch("project", "switch", "room")
    assert hutch("project", "get-current").stdout == "room\n"
    assert hutch("list", "-c", "n", "-f", "csv").stdout == "inside\n"
    assert "inside" not in hutch("list", "--project", "default", "-f", "csv").stdout
    assert "| room (current)" in hutch("project", "list").stdout
    assert ["room", "default"] in [row[:2] for row in _rows(hutch("profile", "list", "--all-projects", "-f", "csv"))]
    assert "Project not found" in hutch("project", "switch", "nowhere", check=False).stderr
    hutch("project", "switch", "default")
    assert "inside" not in hutch("list", "-f", "csv").stdout


def test_a_restricted_client_finds_itself_in_its_project(host: Host, project: Project, hutch: Run) -> None:
    project("lodging")
    token = host.hutch("config", "trust", "add-token", "lodger", "--projects", "lodging").stdout.split()[-1]
    assert ["lodger", "client", "lodging"] in [
        row[:3] for row in _rows(host.hutch("config", "trust", "list-tokens", "-f", "csv"))
    ]

    hutch("remote", "add", "far", token)

    assert hutch("list", "far:").returncode == 0
    assert [row[0] for row in _rows(hutch("project", "list", "--remote", "far", "-f", "csv"))] == ["lodging (current)"]
    assert ["far", ADDRESS, "lxd", "lodging", "", ""] in _rows(hutch("remote", "list", "-f", "csv"))
    assert "Forbidden" in hutch("list", "far:", "--project", "default", check=False).stderr
    listed = _rows(host.hutch("config", "trust", "list", "-f", "csv"))
    assert [(row[0], row[1], row[3]) for row in listed] == [("lodger", "client", "lodging")]


def test_a_certificate_that_was_added_is_shown_edited_and_removed(host: Host, hutch: Run, tmp_path: Path) -> None:
    make(tmp_path / "client.crt", tmp_path / "client.key")
    host.hutch("config", "trust", "add", str(tmp_path / "client.crt"), "--name", "meter", "--type", "metrics")
    fingerprint = host.get("/1.0/certificates")[0].rpartition("/")[2][:12]
    document = yaml.safe_load(host.hutch("config", "trust", "show", fingerprint).stdout)
    assert (document["name"], document["type"], document["restricted"]) == ("meter", "metrics", False)

    document |= {"type": "client", "restricted": True, "projects": ["default"]}
    host.hutch("config", "trust", "edit", fingerprint, input=yaml.safe_dump(document))
    assert ["meter", "client", fingerprint, "default"] in _rows(host.hutch("config", "trust", "list", "-f", "csv"))

    host.hutch("config", "trust", "remove", fingerprint)
    assert host.get("/1.0/certificates") == []


def test_a_client_is_trusted_by_the_certificate_it_printed(host: Host, hutch: Run, tmp_path: Path) -> None:
    (tmp_path / "laptop.crt").write_text(hutch("remote", "get-client-certificate").stdout)
    host.hutch("config", "trust", "add", str(tmp_path / "laptop.crt"), "--name", "laptop")

    hutch("remote", "add", "far", "127.0.0.1", "--accept-certificate")
    hutch("remote", "set-url", "far", "localhost", "--accept-certificate")

    assert ["far", "https://localhost:8443", "lxd", "default", "", ""] in _rows(hutch("remote", "list", "-f", "csv"))
    assert "hutchbr0" in hutch("network", "list", "--remote", "far").stdout


def test_a_revoked_token_lets_nobody_in(host: Host, hutch: Run) -> None:
    token = host.hutch("config", "trust", "add", "--name", "gone", "--quiet").stdout.strip()
    host.hutch("config", "trust", "revoke-token", "gone")

    assert "not authorized" in hutch("remote", "add", "far", token, check=False).stderr
    assert json.loads(hutch("remote", "list", "-f", "json").stdout)[0]["name"] == "local"
    assert "no unused token" in host.hutch("config", "trust", "revoke-token", "gone", check=False).stderr
