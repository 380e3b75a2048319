"""Instances come over from a real LXD 5.0.2, and go back."""

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench import lxdpackage
from tests.functional import transfers
from tests.hosts import Host, Segment, images
from tests.hosts.lxd import PASSWORD, Lxd

pytestmark = pytest.mark.skipif(shutil.which("lxc") is None, reason="Debian's lxd-client is not installed")


@pytest.fixture
def lxd(segment: Segment) -> Iterator[Lxd]:
    try:
        lxdpackage.unpacked()
    except lxdpackage.Missing as missing:
        pytest.skip(str(missing))
    with Lxd(segment) as made:
        made.lxc("image", "import", str(images.built("busybox")), "--alias", "busybox")
        yield made


@pytest.fixture
def there(lxd: Lxd, hosts: Callable[..., Host], segment: Segment) -> Host:
    """A hutch host that LXD's client knows as `hutch`, and which knows LXD as `lxd`."""
    host = transfers.connected(hosts, segment, image=False)
    host.call("PATCH", "/1.0", {"config": {"core.trust_password": PASSWORD}})
    lxd.lxc("remote", "add", "hutch", host.address, "--accept-certificate", "--password", PASSWORD)
    host.lxc("remote", "add", "lxd", lxd.address, "--accept-certificate", "--password", PASSWORD)
    return host


def snapshots_of(client: Host | Lxd, name: str) -> list[str]:
    found: list[dict[str, Any]] = json.loads(client.lxc("list", name, "--format", "json").stdout)
    by_date = sorted(found[0]["snapshots"] or [], key=lambda each: each["created_at"])
    return [each["name"] for each in by_date]


def write(client: Host | Lxd, folder: Any, name: str, text: str) -> None:
    (folder / "note").write_text(text)
    client.lxc("file", "push", "--uid", "7", "--gid", "8", "--mode", "0640", str(folder / "note"), f"{name}/root/note")


@pytest.mark.slow
def test_an_instance_of_lxd_comes_over_and_goes_back(lxd: Lxd, there: Host) -> None:
    lxd.lxc("init", "busybox", "c1", "-c", "user.note=kept")
    for number in range(2):
        write(lxd, lxd.folder, "c1", f"{number}\n")
        lxd.lxc("snapshot", "c1", f"s{number}")
    write(lxd, lxd.folder, "c1", "now\n")

    for mode in ("pull", "push", "relay"):
        lxd.lxc("copy", "c1", f"hutch:{mode}", "--mode", mode)

    for name in ("pull", "push", "relay"):
        assert snapshots_of(there, name) == ["s0", "s1"]
        assert there.get(f"/1.0/instances/{name}")["config"]["user.note"] == "kept"
        there.lxc("start", name)
        assert (
            there.lxc("exec", name, "--", "stat", "-c", "%u %g %a", "/root/note", "/bin").stdout == "7 8 640\n0 0 755\n"
        )
        assert there.lxc("exec", name, "cat", "/root/note").stdout == "now\n"
    there.lxc("stop", "--force", "pull")
    write(there, there.folder, "pull", "changed\n")
    there.lxc("snapshot", "pull", "s2")
    lxd.lxc("copy", "c1", "hutch:pull", "--refresh")
    assert snapshots_of(there, "pull") == ["s0", "s1"]
    assert there.lxc("file", "pull", "pull/root/note", "-").stdout == "now\n"

    there.lxc("stop", "--force", "push")
    for mode in ("pull", "push", "relay"):
        there.lxc("copy", "push", f"lxd:back-{mode}", "--mode", mode)
    write(there, there.folder, "push", "again\n")
    # lxc then wants LXD to take over the config as well, and LXD keeps its own map of ids.
    refused = there.lxc("copy", "push", "lxd:back-pull", "--refresh", check=False).stderr
    assert "Volatile idmap keys can't be deleted" in refused

    for mode, text in (("pull", "again\n"), ("push", "now\n"), ("relay", "now\n")):
        assert snapshots_of(lxd, f"back-{mode}") == ["s0", "s1"]
        assert lxd.lxc("file", "pull", f"back-{mode}/root/note", "-").stdout == text
    lxd.lxc("start", "back-push")
    assert lxd.lxc("exec", "back-push", "cat", "/root/note").stdout == "now\n"
    lxd.lxc("move", "hutch:relay", "moved", "--stateless")
    assert snapshots_of(lxd, "moved") == ["s0", "s1"]
    assert "relay" not in [each.rpartition("/")[2] for each in there.get("/1.0/instances")]
    assert (
        lxd.lxc("config", "template", "list", "back-push").stdout == lxd.lxc("config", "template", "list", "c1").stdout
    )


@pytest.mark.slow
def test_everything_is_brought_over_with_a_report(lxd: Lxd, there: Host) -> None:
    lxd.lxc("profile", "create", "web")
    lxd.lxc("profile", "set", "web", "limits.memory", "512MiB")
    lxd.lxc("profile", "device", "add", "web", "eth0", "nic", "nictype=bridged", "parent=lxdbr9", "name=eth0")
    lxd.lxc("storage", "create", "other", "dir")
    lxd.lxc("storage", "volume", "create", "other", "data")
    lxd.lxc("storage", "volume", "snapshot", "other", "data", "v1")
    lxd.lxc("init", "busybox", "c1", "-p", "default", "-p", "web", "-s", "other", "-c", "user.note=kept")
    write(lxd, lxd.folder, "c1", "here\n")
    lxd.lxc("snapshot", "c1", "s1")
    lxd.lxc("init", "busybox", "c2")
    lxd.lxc("config", "device", "add", "c2", "fast0", "infiniband", "nictype=physical", "parent=ib0")
    lxd.lxc("launch", "busybox", "c3")
    lxd.lxc("storage", "volume", "attach", "other", "data", "c3", "/data")
    lxd.lxc("exec", "c3", "--", "sh", "-c", "echo kept > /data/note; chown 3:4 /data/note")

    for mode in ("pull", "push"):
        lxd.lxc("storage", "volume", "copy", "other/data", f"hutch:default/{mode}", "--mode", mode)
    there.hutch("remote", "add", "old", lxd.address, "--accept-certificate", "--password", PASSWORD, env=conf(there))
    planned = report(there, "old", "--dry-run")
    assert {name for kind, name in planned if kind == "instance"} == {"c1", "c2", "c3"}
    assert there.get("/1.0/instances") == []
    first = report(there, "old:", "--network", "hutchbr0")
    again = report(there, str(lxd.directory / "unix.socket"), "--network", "hutchbr0")

    assert first["instance", "c1"] == ("imported", ["root disk on the pool default instead of other"])
    assert first["instance", "c2"][0] == "imported"
    assert "without device fast0" in first["instance", "c2"][1][0]
    assert "it runs" in first["instance", "c3"][1][0]
    assert first["profile", "web"] == ("imported", ["eth0 on the network hutchbr0 instead of lxdbr9"])
    assert first["profile", "default"][0] == "kept ours"
    assert first["volume", "other/data"] == ("imported", ["on the pool default instead of other"])
    assert again["volume", "other/data"][0] == "kept ours"
    assert lxd.api.get("/1.0/storage-pools/other/volumes/custom/data/backups") == []
    assert [result for (kind, _), (result, _) in first.items() if kind == "image"] == ["imported"]
    assert {result for (kind, _), (result, _) in again.items() if kind == "instance"} == {"refreshed"}
    found = there.get("/1.0/instances/c1")
    assert found["config"]["user.note"] == "kept"
    assert found["expanded_config"]["limits.memory"] == "512MiB"
    assert snapshots_of(there, "c1") == ["s1"]
    there.lxc("start", "c1", "c3")
    assert there.lxc("exec", "c1", "cat", "/root/note").stdout == "here\n"
    for name in ("pull", "push"):
        there.lxc("storage", "volume", "attach", "default", name, "c3", f"/{name}")
    for path in ("/data/note", "/pull/note", "/push/note"):
        shown = there.lxc("exec", "c3", "--", "sh", "-c", f"cat {path}; stat -c '%u %g' {path}").stdout
        assert shown == "kept\n3 4\n", path
    there.lxc("storage", "volume", "copy", "default/data", "lxd:other/back")
    assert lxd.api.get("/1.0/storage-pools/other/volumes/custom/back/snapshots")
    assert there.get("/1.0/storage-pools/default/volumes/custom/data/snapshots")
    assert json.loads(lxd.lxc("list", "c3", "--format", "json").stdout)[0]["status"] == "Running"


def conf(host: Host) -> dict[str, str]:
    return {"HUTCH_CONF": f"{host.folder}/conf"}


def report(host: Host, *words: str) -> dict[tuple[str, str], tuple[str, list[str]]]:
    done = host.hutch("import-from-lxd", *words, "--format", "json", env=conf(host), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {(each["kind"], each["name"]): (each["result"], each["remarks"]) for each in json.loads(done.stdout)}


@pytest.mark.slow
def test_files_with_shifted_ids_come_unshifted(lxd: Lxd, there: Host) -> None:
    lxd.lxc("init", "busybox", "c1")
    write(lxd, lxd.folder, "c1", "before\n")
    lxd.lxc("snapshot", "c1", "unshifted")
    lxd.lxc("start", "c1")
    tree = "cd /root; mkdir d; touch d/f; chown 5:6 d/f; chmod 4711 d/f; ln -s d l; echo after > note"
    lxd.lxc("exec", "c1", "--", "sh", "-c", tree)
    lxd.lxc("stop", "--force", "c1")
    lxd.lxc("snapshot", "c1", "shifted")
    rootfs = lxd.directory / "storage-pools" / "default" / "containers" / "c1" / "rootfs"
    if (rootfs / "root").stat().st_uid == 0:
        pytest.skip("this LXD mounts files with shifted ids")

    lxd.lxc("copy", "c1", "hutch:c1")
    lxd.lxc("copy", "c1", "hutch:c1", "--refresh")

    there.lxc("start", "c1")
    shown = there.lxc(
        "exec", "c1", "--", "sh", "-c", "stat -c '%n %u %g %a' / /root /root/note /root/d/f; cat /root/note"
    )
    assert shown.stdout == "/ 0 0 755\n/root 0 0 700\n/root/note 7 8 640\n/root/d/f 5 6 4711\nafter\n"
    there.lxc("restore", "c1", "unshifted")
    back = there.lxc("exec", "c1", "--", "sh", "-c", "stat -c '%u %g %a' /root/note; cat /root/note; ls /root")
    assert back.stdout == "7 8 640\nbefore\nnote\n"
