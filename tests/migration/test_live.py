"""A Debian guest moves between two hosts while it runs and is talked to."""

import re

from tests.hosts import Host, wait_until
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
