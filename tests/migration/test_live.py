"""A Debian guest moves between two hosts while it runs and is talked to."""

import re
from contextlib import suppress

import pytest

from tests.hosts import ApiError, Host, wait_until
from tests.migration.world import World


def _pids(host: Host, name: str) -> dict[str, str]:
    lines = host.exec(name, "ps", "--no-headers", "-axo", "pid,comm").stdout.splitlines()
    found = {comm: pid for pid, comm in (line.split(None, 1) for line in lines)}
    return {comm: pid for comm, pid in found.items() if comm.startswith(("systemd", "dbus", "agetty"))}


def test_a_guest_moves_there_and_back_and_does_not_notice(world: World) -> None:
    name = "web1"
    address = world.guest(name)

    with world.talk(address) as seen:
        before = wait_until(lambda: _pids(world.a, name), 5)
        print(world.move(name, world.a)["metadata"]["pause"])
        assert world.running(name) == [world.b]
        assert _pids(world.b, name) == before
        assert "new" in world.b.exec(name, "systemd-run", "--quiet", "--wait", "--pipe", "echo", "new").stdout
        print(world.move(name, world.b)["metadata"]["pause"])
        assert world.running(name) == [world.a]

    print(seen)
    assert seen["wrong"] == ""
    assert seen["echoed"] == seen["sent"] > 100
    assert world.a.address_of(name) == address
    assert wait_until(lambda: world.up(world.a, name), 10)


HOLDER = """
use strict; my ($gone, $seen, $folder) = (undef, undef, "/root/watched");
open($gone, "+>", "/root/gone") or die; $gone->autoflush(1); print $gone "kept"; unlink "/root/gone";
my $fd = syscall(294, 0); syscall(254, $fd, $folder, 0x100) >= 0 or die;
open(my $watch, "<&=", $fd) or die;
while (sysread($watch, my $event, 4096)) { open($seen, ">>", "/run/seen"); print $seen "seen"; close($seen) }
"""


def test_what_a_guest_holds_comes_along_and_all_works_afterwards(world: World) -> None:
    name = "holder"
    world.guest(name, **{"limits.memory": "400MiB", "limits.processes": "300"})
    world.a.exec(name, "touch", "/root/early")
    world.a.call("POST", f"/1.0/instances/{name}/snapshots", {"name": "before"})
    world.a.exec(name, "mkdir", "/root/watched")
    world.a.exec(name, "systemd-run", "--quiet", "--unit=hold", "perl", "-MIO::Handle", "-e", HOLDER)
    world.a.exec(name, "systemd-run", "--quiet", "--on-active=15", "touch", "/run/fired")
    pid = world.a.exec(name, "systemctl", "show", "--property=MainPID", "--value", "hold").stdout.strip()

    world.move(name, world.a)

    held = world.b.exec(name, "sh", "-c", f"cat /proc/{pid}/fd/3 2>/dev/null; ls -l /proc/{pid}/fd/3").stdout
    assert held.startswith("kept")
    assert "deleted" in held
    world.b.exec(name, "touch", "/root/watched/new")
    wait_until(lambda: world.b.exec(name, "cat", "/run/seen", check=False).stdout == "seen", 10)
    wait_until(lambda: world.b.exec(name, "test", "-e", "/run/fired", check=False).returncode == 0, 60)
    assert world.b.exec(name, "grep", "MemTotal", "/proc/meminfo").stdout.split()[1] == str(400 * 1024)
    world.b.call("POST", f"/1.0/instances/{name}/snapshots", {"name": "after"})
    world.b.power(name, "restart", timeout=60)
    wait_until(lambda: world.up(world.b, name), 60)
    assert world.b.exec(name, "ls", "/root/watched").stdout == "new\n"
    world.b.power(name, "stop", force=True)
    world.b.call("PUT", f"/1.0/instances/{name}", {"restore": "before"})
    world.b.power(name, "start")
    assert world.b.exec(name, "ls", "/root").stdout == "early\n"
    world.b.delete(name)


def test_the_command_line_moves_it_and_tells_how_long_it_stood_still(world: World) -> None:
    """`hutch move` and, of LXD, `lxc move`."""
    name = "web2"
    address = world.guest(name)

    with world.talk(address) as seen:
        said = world.hutch(world.a, "move", name, "other:")
        assert world.running(name) == [world.b]
        assert not world.a.api.exists(f"/1.0/instances/{name}")
        world.lxc(world.b, "move", name, "other:")
        assert world.running(name) == [world.a]

    assert re.search(rf"{name} stood still for [0-9.]+ s: freeze [0-9.]+, dump [0-9.]+, restore", said)
    assert seen["wrong"] == ""
    world.a.delete(name)


def test_a_move_that_cannot_be_says_why_and_disturbs_nobody(world: World) -> None:
    name = "stuck"
    address = world.guest(name)
    path = f"/1.0/instances/{name}"

    with world.talk(address) as seen:
        world.a.call("PATCH", path, {"devices": {"host": {"type": "disk", "source": "/srv", "path": "/srv"}}})
        assert "its device 'host' (disk) stays here" in _refusal(world, name)
        world.a.call("PUT", path, {"config": {"migration.stateful": "true"}, "profiles": ["default"], "devices": {}})
        world.b.run("ip", "link", "set", "br0", "name", "br1")
        assert "'br0' doesn't exist" in _refusal(world, name)
        world.b.run("ip", "link", "set", "br1", "name", "br0")
        assert world.running(name) == [world.a]

    assert seen["wrong"] == ""
    assert not world.b.api.exists(path)
    assert not (world.b.directory / "instances/default" / name).exists()
    world.a.delete(name)


def _refusal(world: World, name: str) -> str:
    """Why a move from A failed, by what the source says."""
    try:
        left, came = world.begin(name, world.a)
    except ApiError as error:
        return error.message
    with suppress(ApiError):
        world.b.api.wait(came)
    with pytest.raises(ApiError) as failure:
        world.a.api.wait(left)
    return failure.value.message
