"""Disks that a guest gets from its host."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts import ApiError, Host


@pytest.fixture
def share(host: Host, request: pytest.FixtureRequest) -> Path:
    """A folder of the host with a file of root's and one of user 1000's in it."""
    path = host.folder / f"share-{request.node.name.replace('[', '-').replace(']', '')}"
    path.mkdir()
    for name, owner in (("root", 0), ("user", 1000)):
        file = path / name
        file.write_text(f"of {name}\n")
        host.run("chown", f"{owner}:{owner}", file)
    return path


def disk(source: Path, **keys: str) -> dict[str, dict[str, str]]:
    return {"share": {"type": "disk", "path": "/mnt/share", "source": str(source), **keys}}


def owners(host: Host, name: str) -> list[str]:
    return host.exec(name, "stat", "-c", "%n %u", "/mnt/share/root", "/mnt/share/user").stdout.split("\n")[:-1]


def points(host: Host, name: str) -> list[str]:
    folder = host.directory / "instances" / "default" / name / "devices"
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def test_a_folder_of_the_host_is_seen(host: Host, guest: Callable[..., str], share: Path) -> None:
    made = guest(devices=disk(share))
    assert host.exec(made, "cat", "/mnt/share/root").stdout == "of root\n"
    assert owners(host, made) == ["/mnt/share/root 65534", "/mnt/share/user 65534"]
    assert host.exec(made, "touch", "/mnt/share/new", check=False).returncode != 0


def test_shifted_owners_are_the_guests_own(host: Host, guest: Callable[..., str], share: Path) -> None:
    made = guest(devices=disk(share, shift="true"))
    assert owners(host, made) == ["/mnt/share/root 0", "/mnt/share/user 1000"]
    host.exec(made, "sh", "-c", "echo hello > /mnt/share/new; chown 33 /mnt/share/new")
    assert (share / "new").read_text() == "hello\n"
    assert (share / "new").stat().st_uid == 33


def test_a_readonly_disk_is_not_written(host: Host, guest: Callable[..., str], share: Path) -> None:
    made = guest(devices=disk(share, shift="true", readonly="true"))
    failed = host.exec(made, "touch", "/mnt/share/new", check=False)
    assert "Read-only file system" in failed.stderr
    remounted = host.exec(made, "mount", "-o", "remount,rw,bind", "/mnt/share", check=False)
    assert remounted.returncode != 0
    assert host.exec(made, "touch", "/mnt/share/new", check=False).returncode != 0


def test_a_single_file_can_be_a_disk(host: Host, guest: Callable[..., str], share: Path) -> None:
    made = guest(devices={"f": {"type": "disk", "path": "/etc/given", "source": str(share / "root")}})
    assert host.exec(made, "cat", "/etc/given").stdout == "of root\n"


def test_blanks_and_other_letters_in_paths_are_fine(host: Host, guest: Callable[..., str], share: Path) -> None:
    odd = share / "my files #1 ü"
    odd.mkdir()
    (odd / "note").write_text("hello\n")
    made = guest(devices={"o d,d": {"type": "disk", "path": "/mnt/a b#c ü", "source": str(odd)}})
    assert host.exec(made, "cat", "/mnt/a b#c ü/note").stdout == "hello\n"


@pytest.mark.parametrize("recursive", ["true", "false"])
def test_what_is_mounted_below_comes_along_when_asked(
    host: Host, guest: Callable[..., str], share: Path, recursive: str
) -> None:
    below = share / "below"
    below.mkdir()
    # The daemon's mounts are a slave of the host's, so it sees this one.
    host.run("mount", "-t", "tmpfs", "tmpfs", below)
    try:
        host.run("touch", below / "inside")
        made = guest(devices=disk(share, recursive=recursive))
        seen = host.exec(made, "test", "-e", "/mnt/share/below/inside", check=False).returncode == 0
        assert seen is (recursive == "true")
        host.delete(made)
    finally:
        host.run("umount", below)


def test_a_disk_is_gone_from_the_host_with_its_guest(host: Host, guest: Callable[..., str], share: Path) -> None:
    made = guest(devices=disk(share))
    assert points(host, made) == ["share"]
    host.power(made, "stop", force=True)
    assert points(host, made) == []
    assert (share / "root").exists()


def test_a_missing_source_is_an_error_unless_it_is_optional(host: Host, guest: Callable[..., str], share: Path) -> None:
    with pytest.raises(ApiError, match=r'Missing source path ".*/nowhere"') as error:
        guest(devices=disk(share / "nowhere"))
    assert error.value.code in (400, 404)
    made = guest(devices=disk(share / "nowhere", required="false"))
    assert host.exec(made, "test", "-e", "/mnt/share/root", check=False).returncode != 0


@pytest.mark.parametrize("shift", ["true", "false"])
def test_a_disk_can_be_plugged_and_unplugged(host: Host, guest: Callable[..., str], share: Path, shift: str) -> None:
    made = guest()
    host.call("PATCH", f"/1.0/instances/{made}", {"devices": disk(share, shift=shift)})
    assert host.exec(made, "cat", "/mnt/share/root").stdout == "of root\n"
    owner = "0" if shift == "true" else "65534"
    assert owners(host, made)[0] == f"/mnt/share/root {owner}"

    document = host.get(f"/1.0/instances/{made}")
    document["devices"].pop("share")
    host.call("PUT", f"/1.0/instances/{made}", document)
    assert host.exec(made, "ls", "/mnt/share").stdout == ""
    assert (share / "root").exists()


def test_plugging_does_not_follow_a_guests_link_out_of_its_root(
    host: Host, guest: Callable[..., str], share: Path
) -> None:
    made = guest()
    victim = host.folder / "victim"
    victim.mkdir()
    host.exec(made, "ln", "-s", f"../../../../../../..{victim}", "/mnt/share")
    host.exec(made, "mkdir", "-p", str(victim))
    host.call("PATCH", f"/1.0/instances/{made}", {"devices": disk(share)})
    assert list(victim.iterdir()) == []
    assert host.exec(made, "cat", f"{victim}/root").stdout == "of root\n"


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"source": ""}, 'missing the required "source"'),
        ({"source": "relative/path"}, "absolute path"),
        ({"path": "mnt"}, "absolute path"),
        ({"path": "/mnt/../../etc"}, "absolute path"),
        ({"readonly": "perhaps"}, "true or false"),
        ({"sorce": "/tmp"}, "did you mean source"),
        ({"size": "1GiB"}, "root disk only"),
        ({"pool": "default"}, "root disk only"),
    ],
)
def test_wrong_settings_are_refused(
    host: Host, guest: Callable[..., str], share: Path, keys: dict[str, str], reason: str
) -> None:
    devices = disk(share)
    devices["share"] |= keys
    with pytest.raises(ApiError, match=reason):
        guest(devices=devices)
