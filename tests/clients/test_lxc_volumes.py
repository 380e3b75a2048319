"""Debian's lxc works with volumes: the storage commands of the checklist."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.hosts import Host
from tests.hosts.host import INCUS

Guest = Callable[..., str]


def lxc(host: Host, *argv: str, **how: object) -> str:
    return host.lxc(*argv, **how).stdout


def test_a_volume_from_its_creation_to_its_end(host: Host, guest: Guest) -> None:
    name = guest()
    lxc(host, "storage", "volume", "create", "default", "lxc-data", "user.a=1")
    assert "lxc-data" in lxc(host, "storage", "volume", "list", "default")
    assert lxc(host, "storage", "volume", "get", "default", "lxc-data", "user.a") == "1\n"
    lxc(host, "storage", "volume", "set", "default", "lxc-data", "user.a=2")
    lxc(host, "storage", "volume", "unset", "default", "lxc-data", "user.a")
    assert yaml.safe_load(lxc(host, "storage", "volume", "show", "default", "lxc-data"))["config"] == {}

    lxc(host, "storage", "volume", "attach", "default", "lxc-data", name, "data", "/srv")
    lxc(host, "exec", name, "--", "touch", "/srv/one")
    lxc(host, "storage", "volume", "snapshot", "default", "lxc-data", "s1")
    assert "s1" in lxc(host, "storage", "volume", "info", "default", "lxc-data")
    lxc(host, "exec", name, "--", "touch", "/srv/two")
    lxc(host, "storage", "volume", "detach", "default", "lxc-data", name)
    assert lxc(host, "exec", name, "--", "ls", "/srv") == ""

    lxc(host, "storage", "volume", "restore", "default", "lxc-data", "s1")
    lxc(host, "storage", "volume", "copy", "default/lxc-data", "default/lxc-copy")
    lxc(host, "storage", "volume", "rename", "default", "lxc-copy", "lxc-renamed")
    lxc(host, "storage", "volume", "attach", "default", "lxc-renamed", name, "/srv")
    assert lxc(host, "exec", name, "--", "ls", "/srv") == "one\n"
    lxc(host, "storage", "volume", "detach", "default", "lxc-renamed", name)

    lxc(host, "storage", "volume", "rename", "default", "lxc-data/s1", "lxc-data/s2")
    lxc(host, "storage", "volume", "delete", "default", "lxc-data/s2")
    refused = host.lxc("storage", "volume", "restore", "default", "lxc-data", "s2", check=False)
    assert "not found" in refused.stderr
    lxc(host, "storage", "volume", "delete", "default", "lxc-data")
    lxc(host, "storage", "volume", "delete", "default", "lxc-renamed")


def test_a_volume_moves_to_another_pool(host: Host) -> None:
    lxc(host, "storage", "create", "lxc-moving", "dir")
    lxc(host, "storage", "volume", "create", "default", "lxc-moved")
    lxc(host, "storage", "volume", "move", "default/lxc-moved", "lxc-moving/lxc-there")
    assert "lxc-there" in lxc(host, "storage", "volume", "list", "lxc-moving")
    assert "in use" in host.lxc("storage", "delete", "lxc-moving", check=False).stderr
    lxc(host, "storage", "volume", "delete", "lxc-moving", "lxc-there")
    lxc(host, "storage", "delete", "lxc-moving")


def test_hutch_does_the_same(host: Host, guest: Guest) -> None:
    name = guest()

    def hutch(*words: str) -> str:
        return host.hutch("storage", "volume", *words).stdout

    hutch("create", "default", "own", "user.a=1", "--description", "for tests")
    hutch("attach", "default", "own", name, "/srv")
    lxc(host, "exec", name, "--", "touch", "/srv/one")
    hutch("snapshot", "default", "own", "s1")
    hutch("copy", "default/own/s1", "default/copied")
    assert "Snapshot: s1" in hutch("info", "default", "own")
    assert "custom (snapshot)" in hutch("list", "default")
    hutch("detach", "default", "own", name)
    hutch("restore", "default", "own", "s1")
    hutch("rename", "default", "own", "own2")
    hutch("set", "default", "own2", "user.a=3")
    assert hutch("get", "default", "own2", "user.a") == "3\n"
    hutch("delete", "default", "own2/s1", "own2", "copied")


@pytest.mark.skipif(INCUS is None, reason="the client of Incus is not installed")
def test_incus_exports_and_imports(host: Host, guest: Guest, tmp_path: Path) -> None:
    name = guest()
    tmp_path.chmod(0o755)
    host.incus("storage", "volume", "create", "default", "incus-data")
    host.incus("storage", "volume", "snapshot", "create", "default", "incus-data", "s")

    host.incus("export", name, str(tmp_path / "i.tar.gz"))
    host.incus("storage", "volume", "export", "default", "incus-data", str(tmp_path / "v.tar.gz"))
    host.incus("import", str(tmp_path / "i.tar.gz"), f"{name}-incus")
    host.incus("storage", "volume", "import", "default", str(tmp_path / "v.tar.gz"), "incus-again")

    assert host.get("/1.0/storage-pools/default/volumes/custom/incus-again/snapshots")
    host.delete(f"{name}-incus")
    host.incus("storage", "volume", "delete", "default", "incus-again")
    host.incus("storage", "volume", "delete", "default", "incus-data")
