"""Read-only disks: root of a guest cannot remount them for writing, nor move what covers them away."""

from collections.abc import Callable
from pathlib import Path

from tests.hosts import Host

Guest = Callable[..., str]


def test_a_read_only_disk_stays_so(host: Host, guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "marker").write_text("untouched")
    (tmp_path / "marker").chmod(0o666)
    for path in (tmp_path, *tmp_path.parents[:-2]):
        path.chmod(path.stat().st_mode | 0o011)
    disk = {"type": "disk", "source": str(tmp_path), "path": "/mnt/kept", "readonly": "true"}
    name = guest(devices={"kept": disk})
    assert host.exec(name, "cat", "/mnt/kept/marker").stdout == "untouched"

    for attempt in (
        "echo x > /mnt/kept/marker",
        "mount -o remount,rw,bind /mnt/kept && echo x > /mnt/kept/marker",
        "mkdir -p /tmp/o && mount -o bind /mnt/kept /tmp/o && mount -o remount,rw,bind /tmp/o && echo x > /tmp/o/marker",
        "unshare -m sh -c 'mount -o remount,rw,bind /mnt/kept && echo x > /mnt/kept/marker'",
        "unshare -Urm sh -c 'mount -o remount,rw,bind /mnt/kept && echo x > /mnt/kept/marker'",
    ):
        assert host.exec(name, "sh", "-c", attempt, check=False).returncode != 0, attempt
    assert (tmp_path / "marker").read_text() == "untouched"
