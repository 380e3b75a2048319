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
