"""Stateful snapshots: memory and disk of one moment, the guest and its connections going on."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.hosts import ApiError, Host, wait_until

COUNT = "i=0; while :; do i=$((i+1)); echo $i >> /srv/log; sleep 0.05; done"
ECHO = r"""
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalPort => 7007, Listen => 5, ReuseAddr => 1) or die;
while (my $client = $server->accept) { while (defined($_ = <$client>)) { print $client $_ } }
"""
# Sends numbered lines until its input ends and expects each of them back; prints how many.
TALK = """
import select, socket, sys
talk = socket.create_connection((sys.argv[1], 7007), 20)
lines, number = talk.makefile("rw"), 0
while not select.select([sys.stdin], [], [], 0.01)[0]:
    number += 1
    lines.write(f"{number}\\n"); lines.flush()
    assert lines.readline() == f"{number}\\n", number
print(number)
"""


@pytest.fixture(scope="module")
def counting(host: Host, debian: str) -> Iterator[str]:
    """A guest that appends numbers to a file and echoes lines."""
    host.create("keeper", debian, config={"migration.stateful": "true"})
    done = ["systemctl", "is-system-running", "--wait"]
    wait_until(lambda: host.exec("keeper", *done, check=False).stdout == "running\n", 30, what="systemd is up")
    host.call("POST", "/1.0/instances/keeper/files?path=/root/echo", ECHO.encode())
    host.call("POST", "/1.0/instances/keeper/files?path=/root/count", COUNT.encode())
    host.exec("keeper", "systemd-run", "--quiet", "--unit=echo", "perl", "/root/echo")
    host.exec("keeper", "systemd-run", "--quiet", "--unit=count", "sh", "/root/count")
    host.address_of("keeper")
    yield "keeper"
    host.delete("keeper")


def numbers(host: Host, name: str) -> list[int]:
    """What the guest has counted, once it has gone on counting."""
    first = len(host.exec(name, "cat", "/srv/log").stdout.split())

    def more() -> list[int]:
        found = [int(word) for word in host.exec(name, "cat", "/srv/log").stdout.split()]
        return found if len(found) > first + 2 else []

    return wait_until(more, 15, what="it counts on")


def boot_of(host: Host, name: str) -> str:
    return host.exec(name, "cat", "/proc/sys/kernel/random/boot_id").stdout


def test_memory_and_disk_are_of_one_moment_and_connections_go_on(host: Host, counting: str) -> None:
    boot = boot_of(host, counting)
    words = host.namespace.command(sys.executable, "-c", TALK, host.address_of(counting))
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as talk:
        numbers(host, counting)
        host.hutch("snapshot", counting, "one", "--stateful")
        numbers(host, counting)
        said, _ = talk.communicate()
    assert talk.returncode == 0
    assert int(said) > 10
    assert host.get(f"/1.0/instances/{counting}/snapshots/one")["stateful"]
    before = numbers(host, counting)
    host.exec(counting, "sh", "-c", "echo later > /srv/later")

    host.hutch("restore", counting, "one", "--stateful")

    after = numbers(host, counting)
    assert after == list(range(1, after[-1] + 1))
    assert after[-1] < before[-1] + 10
    assert boot_of(host, counting) == boot
    assert host.exec(counting, "test", "-e", "/srv/later", check=False).returncode == 1
    assert "new" in host.exec(counting, "systemd-run", "--quiet", "--wait", "--pipe", "echo", "new").stdout
    assert not host.get(f"/1.0/instances/{counting}")["stateful"]


def test_it_is_brought_back_as_often_as_one_likes_also_by_another_name(host: Host, counting: str) -> None:
    boot = boot_of(host, counting)
    host.call("POST", f"/1.0/instances/{counting}/snapshots/one", {"name": "two"})
    host.power(counting, "stop", force=True)
    host.restart()

    host.lxc("restore", counting, "two", "--stateful")

    assert host.get(f"/1.0/instances/{counting}")["status"] == "Running"
    after = numbers(host, counting)
    assert after == list(range(1, after[-1] + 1))
    assert boot_of(host, counting) == boot
    assert host.run("ping", "-c1", "-W5", host.address_of(counting), check=False).returncode == 0


@pytest.mark.parametrize("delay", [0.1, 0.2])
def test_a_daemon_killed_meanwhile_leaves_the_guest_running_and_no_half_snapshot(
    host: Host, counting: str, delay: float
) -> None:
    numbers(host, counting)
    host.api.begin("POST", f"/1.0/instances/{counting}/snapshots", {"name": "half", "stateful": True})
    time.sleep(delay)
    host.kill9()
    host.start()

    after = numbers(host, counting)
    assert after == list(range(1, after[-1] + 1))
    assert host.run("ping", "-c1", "-W5", host.address_of(counting), check=False).returncode == 0
    whole = host.api.exists(f"/1.0/instances/{counting}/snapshots/half")
    folder = host.directory / "instances/default" / counting
    assert (folder / "states/half").exists() == whole
    assert not (folder / "state.new").exists()
    if whole:
        host.call("DELETE", f"/1.0/instances/{counting}/snapshots/half")


def test_without_its_memory_the_guest_boots_and_a_copy_has_none(host: Host, counting: str) -> None:
    boot = boot_of(host, counting)
    host.call("PUT", f"/1.0/instances/{counting}", {"restore": "two"})
    wait_until(lambda: boot_of(host, counting) != boot, 20)
    source = {"type": "copy", "source": counting}
    host.call("POST", "/1.0/instances", {"name": "keeper-copy", "source": source})
    try:
        assert not host.get("/1.0/instances/keeper-copy/snapshots/two")["stateful"]
        with pytest.raises(ApiError, match="snapshot is stateless"):
            host.call("PUT", "/1.0/instances/keeper-copy", {"restore": "two", "stateful": True})
    finally:
        host.delete("keeper-copy")


def test_what_cannot_be_is_refused_and_a_deleted_one_leaves_nothing(host: Host, counting: str) -> None:
    folder = host.directory / "instances/default" / counting / "states"
    assert [path.name for path in folder.iterdir()] == ["two"]
    host.lxc("delete", f"{counting}/two")
    assert list(folder.iterdir()) == []
    host.power(counting, "stop", force=True)
    with pytest.raises(ApiError, match="The instance isn't running"):
        host.call("POST", f"/1.0/instances/{counting}/snapshots", {"name": "three", "stateful": True})
    host.call("PATCH", f"/1.0/instances/{counting}", {"config": {"migration.stateful": "false"}})
    host.power(counting, "start")
    with pytest.raises(ApiError, match=r"Stateful snapshot requires migration\.stateful"):
        host.call("POST", f"/1.0/instances/{counting}/snapshots", {"name": "three", "stateful": True})
    assert not host.api.exists(f"/1.0/instances/{counting}/snapshots/three")
