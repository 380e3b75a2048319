"""Limits, walls and devices by Debian's own `lxc`."""

import shutil
from collections.abc import Iterator

import pytest

from tests.functional.test_proxy import echo, inside, say
from tests.hosts import Host

pytestmark = pytest.mark.skipif(shutil.which("lxc") is None, reason="Debian's lxd-client is not installed")


@pytest.fixture
def guest(host: Host) -> Iterator[str]:
    host.lxc("launch", "busybox", "lxc-devices")
    yield "lxc-devices"
    host.lxc("delete", "--force", "lxc-devices")


def test_limits_are_set_and_unset_on_a_running_guest(host: Host, guest: str) -> None:
    host.lxc("config", "set", guest, "limits.memory=64MiB", "limits.cpu=1", "limits.processes=200")
    assert "MemTotal:          65536 kB" in host.exec(guest, "cat", "/proc/meminfo").stdout
    assert host.exec(guest, "grep", "-c", "^processor", "/proc/cpuinfo").stdout == "1\n"
    host.lxc("config", "unset", guest, "limits.memory")
    assert "MemTotal:          65536 kB" not in host.exec(guest, "cat", "/proc/meminfo").stdout
    wrong = host.lxc("config", "set", guest, "limits.kernel.nofile=many", check=False)
    assert "SOFT:HARD" in wrong.stderr


def test_a_proxy_and_a_device_file_come_and_go(host: Host, guest: str) -> None:
    words = ("listen=tcp:127.0.0.1:7201", "connect=tcp:127.0.0.1:80")
    host.lxc("config", "device", "add", guest, "web", "proxy", *words)
    with echo(inside(host, guest), "tcp", "127.0.0.1", 80):
        assert say(host.namespace.command(), "tcp", "127.0.0.1", 7201) == "HELLO"
        host.lxc("config", "device", "set", guest, "web", "listen=tcp:127.0.0.1:7202")
        assert say(host.namespace.command(), "tcp", "127.0.0.1", 7202) == "HELLO"
    host.lxc("config", "device", "remove", guest, "web")
    assert "refused" in say(host.namespace.command(), "tcp", "127.0.0.1", 7202)

    host.lxc("config", "device", "add", guest, "zero", "unix-char", "source=/dev/zero", "path=/dev/other")
    assert host.exec(guest, "sh", "-c", "head -c 2 /dev/other | od -An -tx1").stdout.split() == ["00", "00"]
    assert "zero" in host.lxc("config", "device", "list", guest).stdout


def test_a_nic_is_overridden_and_attached(host: Host, guest: str) -> None:
    host.lxc("config", "device", "override", guest, "eth0", "limits.max=100Mbit", "security.mac_filtering=true")
    assert host.lxc("config", "device", "get", guest, "eth0", "limits.max").stdout == "100Mbit\n"
    host.lxc("network", "attach", "hutchbr0", guest, "second", "eth1")
    assert "eth1" in host.exec(guest, "cat", "/proc/net/dev").stdout
    host.lxc("network", "detach", "hutchbr0", guest, "second")
    assert "eth1" not in host.exec(guest, "cat", "/proc/net/dev").stdout
    address = host.address_of(guest)
    assert address in host.lxc("network", "list-leases", "hutchbr0").stdout


def test_walls_are_set_before_the_start(host: Host, guest: str) -> None:
    refused = host.lxc("config", "set", guest, "security.idmap.isolated=true", check=False)
    assert "while the instance is running" in refused.stderr
    host.lxc("stop", guest, "--force")
    host.lxc("config", "set", guest, "security.idmap.isolated=true", "security.protection.delete=true")
    host.lxc("start", guest)
    assert host.exec(guest, "cat", "/proc/self/uid_map").stdout.split()[2] == "65536"
    assert "protected" in host.lxc("delete", "--force", guest, check=False).stderr
    host.lxc("config", "unset", guest, "security.protection.delete")
