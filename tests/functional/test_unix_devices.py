"""Device files of the host inside guests: unix-char and unix-block."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts import ApiError, Host, wait_until

Guest = Callable[..., str]


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """A block device that says `hello`."""
    (tmp_path / "disk").write_bytes(b"hello".ljust(4096, b"\0"))
    words = ["losetup", "--find", "--show", str(tmp_path / "disk")]
    name = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    yield name
    subprocess.run(["losetup", "--detach", name], check=True)


def test_devices_are_there_with_their_owner_and_work(host: Host, guest: Guest, loop: str) -> None:
    devices = {
        "disk": {"type": "unix-block", "source": loop, "path": "/dev/given", "uid": "5", "gid": "6", "mode": "0640"},
        "zero": {"type": "unix-char", "path": "/dev/other-zero", "major": "1", "minor": "5"},
    }
    name = guest(devices=devices)
    assert host.exec(name, "stat", "-c", "%F %u %g %a", "/dev/given").stdout == "block special file 5 6 640\n"
    assert host.exec(name, "head", "-c", "5", "/dev/given").stdout == "hello"
    assert host.exec(name, "sh", "-c", "head -c 4 /dev/other-zero | od -An -tx1").stdout.split() == ["00"] * 4

    host.power(name, "restart", force=True)
    host.restart()
    assert host.exec(name, "head", "-c", "5", "/dev/given").stdout == "hello"


@pytest.mark.parametrize("privileged", ["false", "true"])
def test_devices_come_and_go_live(host: Host, guest: Guest, loop: str, privileged: str) -> None:
    name = guest(config={"security.privileged": privileged})
    disk = {"type": "unix-block", "source": loop, "path": "/dev/given"}
    host.call("PATCH", f"/1.0/instances/{name}", {"devices": {"disk": disk}})
    assert host.exec(name, "head", "-c", "5", "/dev/given").stdout == "hello"

    host.call("PATCH", f"/1.0/instances/{name}", {"devices": {"disk": disk | {"mode": "0600"}}})
    assert host.exec(name, "stat", "-c", "%a", "/dev/given").stdout == "600\n"
    document = host.get(f"/1.0/instances/{name}")
    del document["devices"]["disk"]
    host.call("PUT", f"/1.0/instances/{name}", document)
    assert host.exec(name, "test", "-e", "/dev/given", check=False).returncode == 1
    assert not (host.directory / "instances/default" / name / "devices").exists()


def test_a_device_that_is_absent_keeps_the_guest_from_starting_unless_it_is_not_required(
    host: Host, guest: Guest
) -> None:
    absent = {"type": "unix-char", "source": "/dev/not-here"}
    name = guest(start=False, devices={"it": absent})
    with pytest.raises(ApiError, match="The required device path '/dev/not-here' doesn't exist"):
        host.power(name, "start")
    host.call("PATCH", f"/1.0/instances/{name}", {"devices": {"it": absent | {"required": "false"}}})
    host.power(name, "start")
    assert host.exec(name, "test", "-e", "/dev/not-here", check=False).returncode == 1


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"type": "unix-char"}, 'missing the required "source" or "path"'),
        ({"type": "unix-char", "path": "/dev/x", "major": "1"}, "major and minor belong together"),
        ({"type": "unix-char", "path": "/dev/../x"}, "without"),
        ({"type": "unix-char", "path": "/dev/x", "mode": "rw"}, "octal"),
        ({"type": "unix-hotplug", "vendorid": "1"}, "Unsupported device type"),
        ({"type": "infiniband", "parent": "ib0"}, "Unsupported device type"),
    ],
)
def test_devices_that_make_no_sense_are_refused(host: Host, settings: dict[str, str], reason: str) -> None:
    document = {"name": "unix", "source": {"type": "image", "alias": "busybox"}, "devices": {"it": settings}}
    with pytest.raises(ApiError, match=reason) as error:
        host.call("POST", "/1.0/instances", document)
    assert error.value.code == 400


def test_a_device_of_the_other_kind_is_refused(host: Host, guest: Guest) -> None:
    with pytest.raises(ApiError, match="/dev/null is not a block device"):
        guest(devices={"it": {"type": "unix-block", "source": "/dev/null", "path": "/dev/it"}})


def test_a_device_that_is_not_required_comes_and_goes_with_the_hosts(host: Host, guest: Guest, tmp_path: Path) -> None:
    node = tmp_path / "later" / "zero"
    device = {"type": "unix-char", "source": str(node), "path": "/dev/later", "required": "false"}
    name = guest(devices={"it": device})

    def present() -> bool:
        return host.exec(name, "test", "-c", "/dev/later", check=False).returncode == 0

    assert not present()
    node.parent.mkdir()
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    wait_until(present, what="the guest has the device")
    assert host.exec(name, "sh", "-c", "head -c 2 /dev/later | od -An -tx1").stdout.split() == ["00", "00"]
    node.unlink()
    wait_until(lambda: not present(), what="the device is gone")

    host.restart()
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    wait_until(present, what="the guest has it again")
    host.power(name, "restart", force=True)
    assert present()
