"""Ids: root of a guest is nobody on disks of the host, and an isolated guest's files are another's to nobody."""

from collections.abc import Callable
from pathlib import Path

from tests.hosts import Host

Guest = Callable[..., str]


def shared(folder: Path) -> dict[str, dict[str, str]]:
    for path in (folder, *folder.parents[:-2]):
        path.chmod(path.stat().st_mode | 0o011)
    return {"shared": {"type": "disk", "source": str(folder), "path": "/shared"}}


def test_files_of_the_hosts_root_are_not_the_guests(host: Host, guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "marker").write_text("untouched")
    (tmp_path / "marker").chmod(0o600)
    name = guest(devices=shared(tmp_path))
    for attempt in (
        "cat /shared/marker",
        "echo x > /shared/marker",
        "chown 0:0 /shared/marker",
        "chmod 666 /shared/marker",
    ):
        assert host.exec(name, "sh", "-c", attempt, check=False).returncode != 0, attempt
    assert (tmp_path / "marker").read_text() == "untouched"


def test_what_a_guest_leaves_on_the_host_gives_nobody_the_hosts_root(host: Host, guest: Guest, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    name = guest(devices=shared(tmp_path))
    host.exec(name, "sh", "-c", "cp /bin/busybox /shared/sh && chmod 4755 /shared/sh")
    assert (tmp_path / "sh").stat().st_uid == 1_000_000


def test_isolated_guests_do_not_share_files(host: Host, guest: Guest, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    isolated = {"security.idmap.isolated": "true"}
    one, two = (guest(config=isolated, devices=shared(tmp_path)) for _ in range(2))
    host.exec(one, "sh", "-c", "umask 077; echo secret > /shared/secret")
    for attempt in ("cat /shared/secret", "chmod 666 /shared/secret", "chown 0 /shared/secret"):
        assert host.exec(two, "sh", "-c", attempt, check=False).returncode != 0, attempt
    assert host.exec(one, "cat", "/shared/secret").stdout == "secret\n"
