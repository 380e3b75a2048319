"""Rates of disks: in force from the start, changed and lifted while the guest runs."""

import time
from collections.abc import Callable

import pytest

from tests.functional.test_limits import setting
from tests.hosts import ApiError, Host

Guest = Callable[..., str]
READ = ("blkio.throttle.read_bps_device", "io.max")
WRITE = ("blkio.throttle.write_bps_device", "io.max")
OPERATIONS = ("blkio.throttle.read_iops_device", "io.max")


def root(host: Host, name: str, **limits: str) -> None:
    document = host.get(f"/1.0/instances/{name}")
    document["devices"]["root"] = {
        **{key: value for key, value in document["expanded_devices"]["root"].items() if not key.startswith("limits")},
        **{f"limits.{key}": value for key, value in limits.items()},
    }
    host.call("PUT", f"/1.0/instances/{name}", document)


def test_rates_are_set_changed_and_lifted_live(host: Host, guest: Guest) -> None:
    disk = {"type": "disk", "path": "/", "pool": "default", "limits.read": "3MB", "limits.write": "2MB"}
    name = guest(devices={"root": disk})
    assert "3000000" in setting(host, name, "blkio", *READ)
    assert "2000000" in setting(host, name, "blkio", *WRITE)

    root(host, name, max="200iops")
    assert "3000000" not in setting(host, name, "blkio", *READ)
    assert " 200" in setting(host, name, "blkio", *OPERATIONS).replace("riops=", " ")
    root(host, name)
    assert "200" not in setting(host, name, "blkio", *OPERATIONS)
    assert "root" in host.get(f"/1.0/instances/{name}")["devices"]


def test_writing_past_the_cache_takes_its_time(host: Host, guest: Guest) -> None:
    name = guest()
    command = ("dd", "if=/dev/zero", "of=/root/file", "bs=256k", "count=8", "oflag=direct")
    if host.exec(name, *command, check=False).returncode:
        pytest.skip("the pool's filesystem has no direct writing")
    root(host, name, write="1MB")
    began = time.monotonic()
    host.exec(name, *command)
    assert time.monotonic() - began > 1


def test_the_strictest_of_disks_on_one_disk_of_the_host_counts(host: Host, guest: Guest) -> None:
    shared = {"type": "disk", "source": str(host.folder), "path": "/shared", "limits.read": "1MB"}
    disk = {"type": "disk", "path": "/", "pool": "default", "limits.read": "3MB"}
    name = guest(devices={"root": disk, "shared": shared})
    assert "1000000" in setting(host, name, "blkio", *READ)
    assert "3000000" not in setting(host, name, "blkio", *READ)


def test_a_rate_that_makes_no_sense_is_refused(host: Host) -> None:
    disk = {"type": "disk", "path": "/", "pool": "default", "limits.read": "fast"}
    document = {"name": "rates", "source": {"type": "image", "alias": "busybox"}, "devices": {"root": disk}}
    with pytest.raises(ApiError, match="invalid size 'fast'") as error:
        host.call("POST", "/1.0/instances", document)
    assert error.value.code == 400


def test_a_disk_in_memory_has_no_rate(host: Host, guest: Guest) -> None:
    shared = {"type": "disk", "source": "/dev/shm", "path": "/shared", "limits.read": "1MB"}
    with pytest.raises(ApiError, match="is on no disk of this host"):
        guest(devices={"shared": shared})
