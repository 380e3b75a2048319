"""The life of an instance, typed."""

import json
import re
from collections.abc import Callable, Iterator

import pytest

from tests.hosts import Host, wait_until

Guest = Callable[..., str]


@pytest.fixture
def names(host: Host) -> Iterator[Callable[[str], str]]:
    """Names that are free, deleted after the test."""
    used: list[str] = []

    def name(stem: str) -> str:
        used.append(f"{stem}-cli")
        return used[-1]

    yield name
    for each in used:
        if host.api.exists(f"/1.0/instances/{each}"):
            host.delete(each)


def status(host: Host, name: str) -> str:
    return host.hutch("list", f"^{name}$", "-c", "s", "-f", "csv").stdout.strip()


def test_launch_list_stop_delete(host: Host, names: Callable[[str], str]) -> None:
    name = names("first")
    assert host.hutch("launch", "busybox", name).stdout == f"Creating {name}\nStarting {name}\n"
    address = host.address_of(name)
    table = host.hutch("list", f"^{name}$").stdout
    assert f"| {name} " in table
    assert "| RUNNING |" in table
    assert f"{address} (eth0)" in table
    host.hutch("stop", name, "--timeout", "20")
    assert status(host, name) == "STOPPED"
    done = host.hutch("start", name)
    assert (done.stdout, done.stderr) == ("", "")
    refused = host.hutch("delete", name, check=False)
    assert refused.stderr == f"Error: {name} is running; stop it first, or give --force\n"
    host.hutch("delete", "--force", name)
    assert host.hutch("list", f"^{name}$", "-f", "csv").stdout == ""


def test_flags_of_a_new_instance(host: Host, names: Callable[[str], str]) -> None:
    name = names("flags")
    host.hutch("profile", "create", "extra")
    try:
        words = ["-c", "user.colour=blue", "-c", "limits.cpu=1", "-d", "root,size=100MiB", "-d", "eth0,name=eth7"]
        host.hutch("init", "busybox", name, *words, "-p", "default", "-p", "extra", "-e")
        found = host.get(f"/1.0/instances/{name}")
        assert found["config"]["user.colour"] == "blue"
        assert found["devices"]["root"] == {"type": "disk", "path": "/", "pool": "default", "size": "100MiB"}
        assert found["devices"]["eth0"] == {"type": "nic", "network": "hutchbr0", "name": "eth7"}
        assert found["profiles"] == ["default", "extra"]
        assert found["ephemeral"]
        assert status(host, name) == "STOPPED"
    finally:
        host.hutch("delete", name, check=False)
        host.hutch("profile", "delete", "extra")


def test_storage_network_and_no_profiles(host: Host, names: Callable[[str], str]) -> None:
    name = names("plain")
    host.hutch("init", "busybox", name, "--no-profiles", "-s", "default", "-n", "hutchbr0")
    found = host.get(f"/1.0/instances/{name}")
    assert found["profiles"] == []
    assert sorted(found["devices"]) == ["eth0", "root"]


def test_yaml_on_the_standard_input_is_the_configuration(host: Host, names: Callable[[str], str]) -> None:
    name = names("yaml")
    host.hutch(
        "init", "busybox", name, "-c", "user.b=3", input="config: {user.a: 1, user.b: 2}\ndescription: by hand\n"
    )
    found = host.get(f"/1.0/instances/{name}")
    assert (found["config"]["user.a"], found["config"]["user.b"]) == ("1", "3")
    assert found["description"] == "by hand"


def test_without_a_name_one_is_made_up_and_told(host: Host) -> None:
    out = host.hutch("init", "busybox").stdout
    match = re.search("Instance name is: ([a-z0-9-]+)\n", out)
    assert match, out
    host.hutch("delete", match[1])


def test_the_beginning_of_a_fingerprint_is_an_image_too(host: Host, names: Callable[[str], str]) -> None:
    fingerprint = host.get("/1.0/images/aliases/busybox")["target"]
    host.hutch("init", fingerprint[:12], names("print"))


def test_an_instance_without_image(host: Host, names: Callable[[str], str]) -> None:
    name = names("empty")
    host.hutch("init", "--empty", name)
    assert status(host, name) == "STOPPED"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["launch", "no-such-image", "x1"], "no-such-image"),
        (["launch", "busybox", "-bad-"], ""),
        (["launch", "busybox", "1bad"], "1bad"),
        (["init", "busybox", "x1", "-p", "no-such-profile"], "no-such-profile"),
        (["init", "busybox", "x1", "-s", "no-such-pool"], "no-such-pool"),
        (["init", "busybox", "x1", "-n", "no-such-network"], "no-such-network"),
        (["init", "busybox", "x1", "-c", "limits.nonsense=1"], "limits.nonsense"),
        (["init", "busybox", "x1", "-c", "nonsense"], "'nonsense' is not of the form key=value"),
        (["init", "busybox", "x1", "-d", "new,a=b"], "'new' has no type"),
        (["init", "busybox", "x1", "-d", "root,size=tiny"], "tiny"),
        (["start", "no-such-instance"], "not found"),
        (["init"], "name an image"),
        (["stop"], "name an instance, or give --all"),
        (["copy", "no-such-instance", "x2"], "not found"),
        (["snapshot", "no-such-instance"], "not found"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(host: Host, words: list[str], part: str) -> None:
    before = host.get("/1.0/instances")
    done = host.hutch(*words, check=False)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("Error: ")
    if done.returncode == 1:
        assert done.stderr.count("\n") == 1
    assert part in done.stderr
    assert host.get("/1.0/instances") == before


def test_pause_and_resume(host: Host, guest: Guest) -> None:
    name = guest()
    host.hutch("pause", name)
    assert status(host, name) == "FROZEN"
    host.hutch("resume", name)
    assert status(host, name) == "RUNNING"
    host.hutch("pause", name)
    host.hutch("start", name)
    assert status(host, name) == "RUNNING"


def test_restart_gives_a_new_init(host: Host, guest: Guest) -> None:
    name = guest()
    before = host.state(name)["pid"]
    host.hutch("restart", "--force", name)
    assert host.state(name)["pid"] not in (before, 0)


def test_several_and_all(hosts: Callable[..., Host]) -> None:
    from tests.hosts import images

    host = hosts()
    host.prepare()
    host.import_image(images.built("busybox"), "busybox")
    for name in ("a", "b"):
        host.hutch("init", "busybox", name)
    host.hutch("start", "a", "b")
    assert host.hutch("list", "-c", "s", "-f", "csv").stdout.split() == ["RUNNING", "RUNNING"]
    host.hutch("stop", "--all", "--force")
    assert host.hutch("list", "-c", "s", "-f", "csv").stdout.split() == ["STOPPED", "STOPPED"]
    done = host.hutch("stop", "a", "b", check=False)
    assert done.returncode == 1
    assert "a: " in done.stderr
    assert "b: " in done.stderr
    host.hutch("start", "--all")
    host.hutch("delete", "a", "b", "--force")


def test_rename_and_move(host: Host, names: Callable[[str], str]) -> None:
    old, new, last = names("old"), names("new"), names("last")
    host.hutch("init", "busybox", old)
    host.hutch("rename", old, new)
    host.hutch("move", new, last)
    assert host.hutch("list", "-c", "n", "-f", "csv", "^(old|new|last)-cli$").stdout.split() == [last]


def test_snapshots(host: Host, names: Callable[[str], str]) -> None:
    name, copied = names("snapped"), names("copied")
    host.hutch("init", "busybox", name)
    host.hutch("file", "push", "-", f"{name}/root/note", input="before")
    host.hutch("snapshot", name, "s1")
    host.hutch("file", "push", "-", f"{name}/root/note", input="after")
    host.hutch("snapshot", name)
    host.hutch("rename", f"{name}/s1", f"{name}/golden")
    shown = host.hutch("info", name).stdout
    assert "| golden " in shown
    assert "| snap0 " in shown
    host.hutch("restore", name, "golden")
    assert host.hutch("file", "pull", f"{name}/root/note", "-").stdout == "before"
    host.hutch("copy", f"{name}/snap0", copied)
    assert host.hutch("file", "pull", f"{copied}/root/note", "-").stdout == "after"
    host.hutch("snapshot", name, "golden", "--reuse")
    host.hutch("delete", f"{name}/golden", f"{name}/snap0")
    assert host.get(f"/1.0/instances/{name}/snapshots") == []


def test_a_copy_has_its_own_identity(host: Host, names: Callable[[str], str]) -> None:
    name, copied = names("source"), names("target")
    host.hutch("init", "busybox", name, "-c", "user.a=1")
    host.hutch("snapshot", name, "s1")
    host.hutch("copy", name, copied, "-c", "user.b=2")
    one, other = (host.get(f"/1.0/instances/{each}") for each in (name, copied))
    assert other["config"]["user.a"] == "1"
    assert other["config"]["user.b"] == "2"
    assert one["config"]["volatile.uuid"] != other["config"]["volatile.uuid"]
    assert len(host.get(f"/1.0/instances/{copied}/snapshots")) == 1


def test_publish_makes_an_image_to_launch_from(host: Host, guest: Guest, names: Callable[[str], str]) -> None:
    name, made = guest(), names("published")
    host.hutch("exec", name, "--", "sh", "-c", "echo baked > /root/note; sync")
    refused = host.hutch("publish", name, check=False)
    assert "give --force" in refused.stderr
    out = host.hutch("publish", name, "--force", "--alias", "baked", "note=by the test").stdout
    assert re.search("Instance published with fingerprint: [0-9a-f]{64}", out)
    assert status(host, name) == "RUNNING"
    try:
        assert host.hutch("image", "get-property", "baked", "note").stdout == "by the test\n"
        host.hutch("init", "baked", made)
        assert host.hutch("file", "pull", f"{made}/root/note", "-").stdout == "baked\n"
    finally:
        host.hutch("image", "delete", "baked")


def test_info_shows_what_a_guest_uses(host: Host, guest: Guest) -> None:
    name = guest()
    address = host.address_of(name)
    text = host.hutch("info", name, "--show-log").stdout
    for part in (f"Name: {name}", "Status: RUNNING", "PID: ", "Processes: ", "Memory (current): ", address, "\nLog:\n"):
        assert part in text


def test_json_holds_state_and_snapshots(host: Host, guest: Guest) -> None:
    name = guest()
    found = json.loads(host.hutch("list", f"^{name}$", "--format", "json").stdout)
    assert found[0]["state"]["pid"] > 0
    assert found[0]["snapshots"] in (None, [])


def test_an_ephemeral_instance_goes_when_it_stops(host: Host, names: Callable[[str], str]) -> None:
    name = names("fleeting")
    host.hutch("launch", "busybox", name, "--ephemeral")
    host.hutch("stop", name, "--force")
    wait_until(lambda: not host.api.exists(f"/1.0/instances/{name}"), what="it is gone")
    host.hutch("launch", "busybox", name, "--ephemeral")
    host.hutch("delete", name, "--force")
