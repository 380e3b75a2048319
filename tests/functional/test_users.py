"""The socket for users of the host: each has a project of their own, and nothing of the host or of others."""

import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hutch.service import users
from tests.hosts import Host, images
from tests.hosts.host import BIN, INCUS

NOBODY = 65534
As = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def host(hosts: Callable[..., Host]) -> Host:
    made = hosts(arguments=("--user-group", "nogroup"))
    made.prepare()
    made.import_image(images.built("busybox"), "busybox")
    return made


@pytest.fixture
def nobody(host: Host) -> As:
    """A program run by the user `nobody`, who is in the group of users."""
    home = host.folder / "home"
    home.mkdir()
    home.chmod(0o777)
    env = {
        "HUTCH_DIR": str(host.directory),
        "HUTCH_CONF": str(home / "hutch"),
        "LXD_SOCKET": str(host.directory / "unix.socket.user"),
        "INCUS_DIR": str(host.directory),
        "INCUS_CONF": str(home / "incus"),
        "LXD_CONF": str(home / "lxc"),
        "HOME": str(home),
    }

    def run(*words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        identity = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        return host.run("setpriv", *identity, *words, env=env, check=check)

    return run


def test_a_user_has_a_project_and_a_network_of_their_own(host: Host, nobody: As) -> None:
    assert nobody("lxc", "list", "-f", "csv").stdout == ""
    assert f"/1.0/projects/user-{NOBODY}" in host.get("/1.0/projects")
    nobody("lxc", "launch", "busybox", "mine")
    assert nobody("lxc", "exec", "mine", "--", "hostname").stdout == "mine\n"
    assert nobody("lxc", "list", "-c", "n", "-f", "csv").stdout == "mine\n"
    assert host.get("/1.0/instances") == []
    devices = host.get(f"/1.0/instances/mine?project=user-{NOBODY}")["expanded_devices"]
    assert devices["eth0"]["network"] == f"hbr-{NOBODY}"

    host.restart()

    assert nobody("lxc", "delete", "mine", "--force").returncode == 0


def test_a_user_gets_at_nothing_else(host: Host, nobody: As) -> None:
    host.call("POST", "/1.0/instances", {"name": "others", "source": {"type": "none"}})
    hutch = BIN / "hutch"
    assert "others" not in nobody(hutch, "list", "--all-projects", "-f", "csv").stdout
    for words in (
        ("query", "/1.0/instances?project=default"),
        ("project", "set", f"user-{NOBODY}", "restricted=false"),
        ("config", "set", "core.https_address=[::]:8443"),
        ("storage", "create", "own", "dir"),
        ("network", "set", f"hbr-{NOBODY}", "raw.dnsmasq=x"),
        ("query", "/internal/ready"),
    ):
        done = nobody(hutch, *words, check=False)
        assert (done.returncode, "Forbidden" in done.stderr) == (1, True), (words, done.stderr)
    for words, sentence in (
        (("-c", "security.privileged=true"), "Privileged containers are forbidden"),
        (("-c", "raw.lxc=lxc.environment=A=b"), "is forbidden"),
        (("-c", "raw.idmap=both 0 0"), "element 0"),
        (("-n", "hutchbr0"), "Network not found"),
        (("--device", "etc,type=disk,source=/etc,path=/mnt"), "not backed by a pool"),
    ):
        done = nobody(hutch, "init", "busybox", "bad", *words, check=False)
        assert sentence in done.stderr, words
    assert host.get(f"/1.0/instances?project=user-{NOBODY}") == []


@pytest.mark.skipif(INCUS is None, reason="the client of Incus is not installed")
def test_the_client_of_incus_finds_the_socket_for_users(host: Host, nobody: As) -> None:
    assert INCUS is not None
    nobody(INCUS, "init", "busybox", "mine")

    assert nobody(INCUS, "list", "-c", "n", "-f", "csv").stdout == "mine\n"
    assert host.get(f"/1.0/instances?project=user-{NOBODY}") == [f"/1.0/instances/mine?project=user-{NOBODY}"]


def test_the_socket_for_administrators_is_not_for_users(host: Host, nobody: As) -> None:
    socket = host.directory / "unix.socket"
    done = nobody("curl", "-s", "--unix-socket", socket, "http://hutch/1.0", check=False)

    assert done.returncode != 0


def test_an_id_that_is_nobodys_gets_no_project(host: Host) -> None:
    words = ("setpriv", "--reuid=54321", f"--regid={NOBODY}", "--clear-groups", "curl", "-s", "--unix-socket")
    done = host.run(*words, host.directory / "unix.socket.user", "http://hutch/1.0/projects")

    assert "there is no user with the id 54321" in done.stdout
    assert host.get("/1.0/projects") == ["/1.0/projects/default"]


def test_a_guest_is_given_a_home_only_if_it_is_the_users_own(tmp_path: Path) -> None:
    def account(uid: int, home: str) -> pwd.struct_passwd:
        return pwd.struct_passwd(("someone", "x", uid, 100, "", home, "/bin/sh"))

    mine = users.settings(account(tmp_path.stat().st_uid, str(tmp_path)))
    assert mine["restricted.devices.disk.paths"] == str(tmp_path)
    assert mine["restricted.idmap.uid"] == str(tmp_path.stat().st_uid)
    for uid, home in ((tmp_path.stat().st_uid + 1, str(tmp_path)), (0, "/"), (0, "/nonexistent")):
        assert "restricted.devices.disk" not in users.settings(account(uid, home))
