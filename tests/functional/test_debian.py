"""Debian 12 and 13 from our own images: whole systems, booted by systemd, with nothing that failed."""

import re
from collections.abc import Callable, Iterator

import pytest

from tests.hosts import Host, images
from tests.hosts.waiting import wait_until


@pytest.fixture(scope="module", params=["12", "13"])
def release(request: pytest.FixtureRequest, host: Host, debian: str) -> Iterator[str]:
    """The alias of the image on the shared host, which has Debian 12 for other tests as well."""
    if request.param == "12":
        yield debian
        return
    fingerprint = host.import_image(images.built(f"debian/{request.param}"), f"debian/{request.param}")
    yield f"debian/{request.param}"
    host.call("DELETE", f"/1.0/images/{fingerprint}")


def _booted(host: Host, name: str) -> str:
    """What systemd says once it is done; it says offline before it listens."""

    def ask() -> str:
        state = host.exec(name, "systemctl", "is-system-running", "--wait", check=False).stdout.strip()
        return state if state in ("running", "degraded") else ""

    return wait_until(ask, 60, what="systemd is up")


def test_a_whole_system_comes_up(host: Host, release: str, guest: Callable[..., str]) -> None:
    name, neighbour = guest(release), guest()
    assert _booted(host, name) == "running", host.exec(name, "systemctl", "--failed", "--no-pager").stdout
    assert host.exec(name, "systemctl", "--failed", "--no-legend", "--plain").stdout == ""
    version = release.partition("/")[2] or "12"
    assert f'VERSION_ID="{version}"' in host.exec(name, "cat", "/etc/os-release").stdout
    assert host.exec(name, "hostname").stdout.strip() == name
    four, six = host.address_of(name), host.address_of(name, "inet6")
    assert four.startswith("10.")
    assert six.startswith("fd42:")
    assert host.address_of(neighbour)
    for asked in (f"{neighbour}", f"{neighbour}.lxd"):
        found = wait_until(lambda asked=asked: host.exec(name, "getent", "ahostsv4", asked, check=False).stdout)  # type: ignore[misc]
        assert host.address_of(neighbour) in found
    assert host.exec(name, "ping", "-c1", "-W2", neighbour).returncode == 0


def test_it_is_unprivileged_and_its_own(host: Host, release: str, guest: Callable[..., str]) -> None:
    one, two = guest(release), guest(release)
    assert [_booted(host, each) for each in (one, two)] == ["running", "running"]
    ids = [host.exec(each, "cat", "/etc/machine-id").stdout.strip() for each in (one, two)]
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)
    assert ids[0] != ids[1]
    assert host.exec(one, "cat", "/proc/self/uid_map").stdout.split() == ["0", "1000000", "1000000000"]
    init = host.state(one)["pid"]
    assert host.run("stat", "-c", "%u", f"/proc/{init}").stdout.strip() == "1000000"
    root = host.exec(one, "findmnt", "--noheadings", "--output", "FSTYPE", "/").stdout.strip()
    assert root == "overlay"
    assert host.exec(one, "stat", "-c", "%u:%g", "/", "/etc/shadow", "/usr/bin/passwd").stdout.split() == [
        "0:0",
        "0:42",
        "0:0",
    ]
    assert host.exec(one, "test", "-e", "/dev/mem", check=False).returncode == 1


def test_stop_reboot_and_poweroff_from_both_sides(host: Host, release: str, guest: Callable[..., str]) -> None:
    name = guest(release)
    assert _booted(host, name) == "running"
    first = host.state(name)["pid"]
    host.exec(name, "systemctl", "reboot", check=False)
    wait_until(lambda: host.state(name)["pid"] not in (0, first), 20, what="it has rebooted")
    assert _booted(host, name) == "running"
    host.power(name, "restart", timeout=30)
    assert _booted(host, name) == "running"
    host.power(name, "stop", timeout=30)
    assert host.state(name)["status"] == "Stopped"
    host.power(name, "start")
    assert _booted(host, name) == "running"
    host.exec(name, "systemctl", "poweroff", check=False)
    wait_until(lambda: host.state(name)["status"] == "Stopped", 20, what="it is off")


def test_what_a_later_checkpoint_needs(host: Host, release: str, guest: Callable[..., str]) -> None:
    name = guest(release)
    assert _booted(host, name) == "running"
    sessions = host.exec(name, "sh", "-c", "ps -o sid= -p $$; ps -o pid= -p $$").stdout.split()
    assert sessions[0] == sessions[1]
    host.exec(name, "sh", "-c", "sleep 300 >/dev/null 2>&1 </dev/null &")
    outside = host.exec(name, "sh", "-c", "ps -e -o sid=").stdout.split()
    assert "0" not in outside
    consoles = host.exec(name, "sh", "-c", "grep ' /dev/console ' /proc/1/mountinfo").stdout.splitlines()
    assert len(consoles) == 1
    assert " - devpts " in consoles[0]
    hierarchies = host.exec(name, "sh", "-c", "grep cgroup /proc/1/mountinfo").stdout
    assert "cgroup2" in hierarchies
    assert " - cgroup " not in hierarchies
