"""Debian's `lxc` and the `incus` client: projects, restricted certificates, tokens, and getting in by each way there is."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.terminal import Terminal
from tests.hosts import Host, wait_until
from tests.hosts.host import INCUS, POOL

pytestmark = pytest.mark.skipif(shutil.which("lxc") is None, reason="Debian's lxd-client is not installed")

ADDRESS = "127.0.0.1:8443"
Client = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def https(host: Host) -> Iterator[Host]:
    """The shared host, serving HTTPS for the while of the test."""
    host.call("PATCH", "/1.0", {"config": {"core.https_address": ADDRESS}})
    yield host
    for url in host.get("/1.0/certificates"):
        host.call("DELETE", url)
    host.call("PUT", "/1.0", {"config": {}})


@pytest.fixture(params=["lxc", "incus"])
def client(request: pytest.FixtureRequest, https: Host, tmp_path: Path) -> Client:
    """A client with an identity of its own, by each of the two programs."""
    program = {"lxc": "lxc", "incus": INCUS}[request.param]
    if program is None:
        pytest.skip("the client of Incus is not installed")

    def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        env = {"LXD_CONF": str(tmp_path / "conf"), "INCUS_CONF": str(tmp_path / "conf")}
        return https.run(program, *words, env=env, check=check)

    return run


@pytest.fixture
def room(host: Host) -> Iterator[str]:
    """A project with the default project's images, and one instance."""
    host.lxc("project", "create", "room", "-c", "features.images=false")
    devices = {"root": {"type": "disk", "path": "/", "pool": POOL}}
    host.call("PUT", "/1.0/profiles/default?project=room", {"devices": devices})
    host.lxc("init", "busybox", "inside", "--project", "room")
    yield "room"
    for name in host.get("/1.0/instances?project=room"):
        host.call("DELETE", name)
    host.call("DELETE", "/1.0/projects/room")


def test_lxc_project_commands(host: Host) -> None:
    host.lxc("project", "create", "made", "-c", "features.profiles=false")
    host.lxc("project", "set", "made", "limits.instances", "2")
    assert host.lxc("project", "get", "made", "limits.instances").stdout == "2\n"
    host.lxc("project", "unset", "made", "limits.instances")
    document = yaml.safe_load(host.lxc("project", "show", "made").stdout)
    assert document["config"]["features.profiles"] == "false"
    document |= {"description": "edited"}
    host.lxc("project", "edit", "made", input=yaml.safe_dump(document))
    host.lxc("project", "rename", "made", "named")
    rows = [line.split(",") for line in host.lxc("project", "list", "--format", "csv").stdout.splitlines()]
    named = next(row for row in rows if row[0] == "named")
    assert named[:6] == ["named", "YES", "NO", "YES", "NO", "edited"]
    host.lxc("project", "delete", "named")


def test_lxc_works_in_the_project_it_is_told(host: Host, room: str) -> None:
    host.lxc("project", "set", room, "limits.memory", "1GiB", check=False)
    assert host.lxc("list", "--project", room, "-c", "n", "-f", "csv").stdout == "inside\n"
    assert "room,inside" in host.lxc("list", "--all-projects", "-c", "en", "-f", "csv").stdout
    host.lxc("project", "switch", room)
    try:
        assert host.lxc("list", "-c", "n", "-f", "csv").stdout == "inside\n"
        assert "UNLIMITED" in host.lxc("project", "info", room).stdout
    finally:
        host.lxc("project", "switch", "default")
    assert "inside" not in host.lxc("list", "-f", "csv").stdout
    assert "Only empty projects can be removed" in host.lxc("project", "delete", room, check=False).stderr


def test_lxc_waits_for_what_a_project_shares_with_the_default_one(host: Host, room: str) -> None:
    fingerprint = host.lxc("publish", "inside", "--project", room, "note=shared").stdout.split()[-1]
    assert host.lxc("image", "delete", fingerprint, "--project", room).returncode == 0
    assert not host.api.exists(f"/1.0/images/{fingerprint}")


def test_lxc_hears_of_all_projects(host: Host, room: str) -> None:
    env = {"LXD_DIR": str(host.directory), "LXD_CONF": str(host.folder / "lxc-client")}
    words = ("monitor", "--all-projects", "--type=lifecycle", "--format=json")
    with Terminal(*words, program="lxc", env=env) as terminal:

        def heard() -> bool:
            host.call("PATCH", "/1.0/instances/inside?project=room", {"description": "new"})
            with contextlib.suppress(AssertionError):
                terminal.expect('"project":"room"', timeout=0.5)
                return True
            return False

        wait_until(heard, 20, what="the client hears of the other project")


def test_a_token_lets_a_client_in(https: Host, client: Client) -> None:
    token = https.lxc("config", "trust", "add", "--name", "laptop", "--quiet").stdout.split()[-1]

    client("remote", "add", "there", token)

    assert client("list", "there:").returncode == 0
    assert https.get("/1.0/certificates?recursion=1")[0]["name"] == "laptop"


def test_a_certificate_that_was_added_lets_its_client_in(https: Host, client: Client, tmp_path: Path) -> None:
    client("remote", "add", "there", f"https://{ADDRESS}", "--accept-certificate", check=False)
    certificate = tmp_path / "conf" / "client.crt"
    https.lxc("config", "trust", "add", str(certificate), "--name", "known")

    client("remote", "add", "there", f"https://{ADDRESS}", "--accept-certificate")

    assert "busybox" in client("image", "list", "there:", "--format", "csv").stdout


def test_a_restricted_token_lets_a_client_into_its_projects_only(https: Host, client: Client, room: str) -> None:
    words = ("config", "trust", "add", "--name", "lodger", "--restricted", "--projects", room, "--quiet")
    token = https.lxc(*words).stdout.split()[-1]

    client("remote", "add", "there", token)

    assert [row.split(",")[0] for row in client("project", "list", "there:", "-f", "csv").stdout.splitlines()] == [
        "room (current)"
    ]
    assert client("list", "there:", "-c", "n", "-f", "csv").stdout == "inside\n"
    assert client("list", "there:", "--all-projects", "-c", "n", "-f", "csv").stdout == "inside\n"
    client("launch", "there:busybox", "there:mine")
    assert client("exec", "there:mine", "--", "hostname").stdout == "mine\n"
    client("delete", "there:mine", "--force")
    for refused in (
        ("list", "there:", "--project", "default"),
        ("project", "create", "there:own"),
        ("config", "set", "there:", "core.trust_password=x"),
        ("storage", "create", "there:own", "dir"),
        ("network", "create", "there:own0"),
    ):
        done = client(*refused, check=False)
        assert done.returncode != 0, refused


def test_lxc_lists_edits_and_removes_certificates(https: Host, tmp_path: Path) -> None:
    def trust(*words: str, **how: Any) -> str:
        return https.lxc("config", "trust", *words, **how).stdout

    env = {"LXD_CONF": str(tmp_path / "conf")}
    https.run("lxc", "remote", "add", "x", f"https://{ADDRESS}", "--accept-certificate", env=env, check=False)
    trust("add", str(tmp_path / "conf" / "client.crt"), "--name", "meter", "--type", "metrics")
    fingerprint = https.get("/1.0/certificates")[0].rpartition("/")[2]
    assert "metrics,meter," in trust("list", "--format", "csv")
    document = yaml.safe_load(trust("show", fingerprint))
    document |= {"type": "client", "restricted": True, "projects": ["default"]}
    trust("edit", fingerprint, input=yaml.safe_dump(document))
    assert https.get("/1.0/certificates?recursion=1")[0]["projects"] == ["default"]
    trust("remove", fingerprint)
    assert https.get("/1.0/certificates") == []
