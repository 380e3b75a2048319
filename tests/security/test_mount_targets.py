"""Disks plugged into a running guest: a link that its root laid at the target does not lead the mount out of the guest."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts import ApiError, Host

Guest = Callable[..., str]


@pytest.mark.parametrize(
    "link", ["/proc/1/root/tmp/x", "../../../../../../../../tmp", "/proc/self/ns/net", "/dev/fd/3"]
)
def test_the_mount_stays_inside(host: Host, guest: Guest, tmp_path: Path, link: str) -> None:
    (tmp_path / "given").mkdir()
    for path in (tmp_path, *tmp_path.parents[:-2]):
        path.chmod(path.stat().st_mode | 0o011)
    name = guest()
    host.exec(name, "ln", "-s", link, "/trap")
    before = host.run("cat", "/proc/self/mountinfo").stdout

    disk = {"type": "disk", "source": str(tmp_path / "given"), "path": "/trap"}
    with contextlib.suppress(ApiError):
        host.call("PATCH", f"/1.0/instances/{name}", {"devices": {"given": disk}})

    assert host.run("cat", "/proc/self/mountinfo").stdout == before
    assert "given" not in host.run("cat", "/proc/1/mountinfo").stdout
