"""Backups: kept on the server or sent at once, and made into instances and volumes again."""

import io
import itertools
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hosts import ApiError, Host

_numbers = itertools.count(1)
Guest = Callable[..., str]
STREAM = {"Accept": "application/octet-stream", "Content-Type": "application/json"}


@pytest.fixture(scope="module", params=["default", "backup-btrfs", "backup-dir"])
def pool(host: Host, request: pytest.FixtureRequest) -> Iterator[str]:
    name: str = request.param
    if name != "default":
        driver = name.removeprefix("backup-")
        config = {"size": "512MiB"} if driver == "btrfs" else {}
        host.call("POST", "/1.0/storage-pools", {"name": name, "driver": driver, "config": config})
    yield name
    if name != "default":
        host.call("DELETE", f"/1.0/storage-pools/{name}")


@pytest.fixture
def names(host: Host) -> Iterator[Callable[[], str]]:
    """Names of instances that are gone after the test."""
    made: list[str] = []

    def new() -> str:
        made.append(f"restored{next(_numbers)}")
        return made[-1]

    yield new
    for name in made:
        if host.api.exists(f"/1.0/instances/{name}"):
            host.delete(name)


def with_history(host: Host, guest: Guest, pool: str) -> str:
    """A guest with two snapshots, whose files tell of the three states."""
    made = guest(devices={"root": {"type": "disk", "path": "/", "pool": pool}}, config={"user.note": "kept"})
    for state in ("one", "two", "three"):
        host.exec(made, "sh", "-c", f"echo {state} > /root/state; touch /root/{state}")
        if state != "three":
            host.call("POST", f"/1.0/instances/{made}/snapshots", {"name": state})
    host.exec(made, "sh", "-c", "rm /root/one; chown 12:34 /root/two; ln /root/two /root/link")
    return made


def export(host: Host, path: str, **wanted: Any) -> bytes:
    status, _, body = host.api.raw("POST", f"{path}/backups", wanted, STREAM)
    assert status == 200, body
    return body


def take_in(host: Host, backup: bytes, path: str = "/1.0/instances", **headers: str) -> Any:
    sent = {f"X-LXD-{key}": value for key, value in headers.items()}
    return host.call(
        "POST",
        path,
        io.BytesIO(backup),
        headers={"Content-Type": "application/octet-stream", **sent, "Content-Length": str(len(backup))},
    )


def members(backup: bytes) -> list[str]:
    plain = subprocess.run(["zstd", "-dc"], input=backup, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return tar.getnames()


def test_an_instance_comes_back_with_its_snapshots(
    host: Host, guest: Guest, pool: str, names: Callable[[], str]
) -> None:
    made, again = with_history(host, guest, pool), names()
    backup = export(host, f"/1.0/instances/{made}")

    take_in(host, backup, name=again)

    found = host.get(f"/1.0/instances/{again}")
    assert (found["config"]["user.note"], found["devices"]["root"]["pool"]) == ("kept", pool)
    host.power(again, "start")
    assert host.exec(again, "ls", "/root").stdout.split() == ["link", "state", "three", "two"]
    assert host.exec(again, "stat", "-c", "%u:%g %h", "/root/link").stdout == "12:34 2\n"
    host.call("PUT", f"/1.0/instances/{again}", {"restore": "one"})
    assert host.exec(again, "ls", "/root").stdout.split() == ["one", "state"]
    assert host.exec(again, "cat", "/root/state").stdout == "one\n"
    assert host.exec(made, "cat", "/root/state").stdout == "three\n"
    assert not list((host.directory / "backups").iterdir())


def test_the_layout_is_lxds(host: Host, guest: Guest) -> None:
    made = with_history(host, guest, "default")
    whole = members(export(host, f"/1.0/instances/{made}"))
    only = members(export(host, f"/1.0/instances/{made}", instance_only=True))

    assert whole[0] == "backup/index.yaml"
    for name in (
        "container/backup.yaml",
        "container/metadata.yaml",
        "container/rootfs/root/three",
        "snapshots/one/rootfs/root/one",
    ):
        assert f"backup/{name}" in whole
    assert not [name for name in only if name.startswith("backup/snapshots")]


def test_a_backup_without_snapshots_is_taken_in_on_another_pool(
    host: Host, guest: Guest, pool: str, names: Callable[[], str]
) -> None:
    made, again = with_history(host, guest, "default"), names()
    take_in(host, export(host, f"/1.0/instances/{made}", instance_only=True), name=again, pool=pool)
    assert host.get(f"/1.0/instances/{again}/snapshots") == []
    assert host.get(f"/1.0/instances/{again}")["expanded_devices"]["root"]["pool"] == pool
    host.power(again, "start")
    assert host.exec(again, "cat", "/root/state").stdout == "three\n"


@pytest.mark.parametrize("algorithm", ["none", "gzip", "xz -1", "bzip2", "zstd -1"])
def test_every_compression_comes_back(host: Host, guest: Guest, names: Callable[[], str], algorithm: str) -> None:
    made, again = guest(), names()
    take_in(host, export(host, f"/1.0/instances/{made}", compression_algorithm=algorithm), name=again)
    assert host.get(f"/1.0/instances/{again}")["name"] == again


def test_backups_are_kept_renamed_and_deleted(host: Host, guest: Guest, names: Callable[[], str]) -> None:
    made, again = guest(), names()
    path = f"/1.0/instances/{made}/backups"
    done = host.call("POST", path, {"expires_at": "2100-01-01T00:00:00Z", "instance_only": True})
    assert done["resources"]["backups"] == ["/1.0/backups/backup0"]
    assert host.get(path) == [f"{path}/backup0"]
    assert host.get(f"{path}/backup0")["instance_only"] is True
    assert host.get(f"/1.0/instances/{made}?recursion=1")["backups"][0]["name"] == "backup0"
    with pytest.raises(ApiError, match="already exists"):
        host.call("POST", path, {"name": "backup0"})

    host.call("POST", f"{path}/backup0", {"name": "other"})
    host.restart()
    status, headers, body = host.api.raw("GET", f"{path}/other/export")
    assert (status, headers["content-length"]) == (200, str(len(body)))
    take_in(host, body, name=again)
    host.call("DELETE", f"{path}/other")
    assert host.get(path) == []
    assert not list((host.directory / "backups").iterdir())


def test_a_backup_goes_with_its_instance_and_follows_its_name(host: Host, guest: Guest) -> None:
    made = guest(start=False)
    host.call("POST", f"/1.0/instances/{made}/backups", {"name": "b"})
    host.call("POST", f"/1.0/instances/{made}", {"name": f"{made}x"})
    assert host.api.exists(f"/1.0/instances/{made}x/backups/b")
    host.call("DELETE", f"/1.0/instances/{made}x")
    assert not list((host.directory / "backups").iterdir())


def test_a_taken_name_and_an_unknown_pool_are_refused(host: Host, guest: Guest) -> None:
    made = guest(start=False)
    backup = export(host, f"/1.0/instances/{made}")
    with pytest.raises(ApiError, match="already exists"):
        take_in(host, backup)
    with pytest.raises(ApiError, match="'nowhere' not found"):
        take_in(host, backup, name="elsewhere", pool="nowhere")
    with pytest.raises(ApiError, match="squashfs"):
        host.call("POST", f"/1.0/instances/{made}/backups", {"compression_algorithm": "squashfs"})


def test_a_volume_comes_back_with_its_snapshots(host: Host, guest: Guest, pool: str) -> None:
    url = f"/1.0/storage-pools/{pool}/volumes/custom"
    name, again = f"kept{next(_numbers)}", f"kept{next(_numbers)}"
    host.call("POST", url, {"name": name, "description": "mine", "config": {"user.a": "1"}})
    disk = {"type": "disk", "pool": pool, "path": "/srv"}
    made = guest(devices={"data": disk | {"source": name}})
    host.exec(made, "sh", "-c", "echo one > /srv/file")
    host.call("POST", f"{url}/{name}/snapshots", {"name": "s"})
    host.exec(made, "sh", "-c", "echo two > /srv/file; touch /srv/more")

    take_in(host, export(host, f"{url}/{name}"), url, name=again)

    found = host.get(f"{url}/{again}")
    assert (found["description"], found["config"]) == ("mine", {"user.a": "1"})
    other = guest(devices={"data": disk | {"source": again}})
    assert host.exec(other, "cat", "/srv/file").stdout == "two\n"
    host.power(other, "stop", force=True)
    host.call("PUT", f"{url}/{again}", {"restore": "s"})
    host.power(other, "start")
    assert host.exec(other, "ls", "/srv").stdout == "file\n"
    for guest_name in (made, other):
        host.delete(guest_name)
    for each in (name, again):
        host.call("DELETE", f"{url}/{each}")


def test_block_and_iso_volumes_come_back(host: Host) -> None:
    url = "/1.0/storage-pools/default/volumes/custom"
    host.call("POST", url, {"name": "block", "content_type": "block", "config": {"size": "3MiB"}})
    host.call("POST", f"{url}/block/snapshots", {"name": "s"})
    backup = export(host, f"{url}/block")
    assert "backup/volume.img" in members(backup)
    assert "backup/volume-snapshots/s.img" in members(backup)
    take_in(host, backup, url, name="block2")
    take_in(host, b"an image" * 1000, url, name="disc", type="iso")
    assert host.get(f"{url}/block2")["content_type"] == "block"
    assert host.get(f"{url}/disc")["config"] == {"size": "8000"}
    assert len(host.get(f"{url}/block2/snapshots")) == 1
    for name in ("block", "block2", "disc"):
        host.call("DELETE", f"{url}/{name}")


def test_the_command_line_exports_and_imports(
    host: Host, guest: Guest, names: Callable[[], str], tmp_path: Path
) -> None:
    made, again, third = with_history(host, guest, "default"), names(), names()
    tmp_path.chmod(0o755)
    file = tmp_path / "backup.tar.zst"
    assert str(file) in host.hutch("export", made, str(file)).stdout
    host.hutch("import", str(file), again)
    assert len(host.get(f"/1.0/instances/{again}/snapshots")) == 2

    theirs = tmp_path / "theirs.tar.gz"
    host.lxc("export", made, str(theirs), "--compression=gzip", "--instance-only")
    host.lxc("import", str(theirs), third)
    assert host.get(f"/1.0/instances/{third}/snapshots") == []
    assert host.get(f"/1.0/instances/{made}/backups") == []

    host.hutch("storage", "volume", "create", "default", "clivolume")
    volume = tmp_path / "volume.tar"
    host.hutch("storage", "volume", "export", "default", "clivolume", str(volume), "--compression=none")
    host.hutch("storage", "volume", "import", "default", str(volume), "clivolume2")
    host.lxc("storage", "volume", "export", "default", "clivolume", str(tmp_path / "v.tar.gz"))
    host.lxc("storage", "volume", "import", "default", str(tmp_path / "v.tar.gz"), "clivolume3")
    host.hutch("storage", "volume", "delete", "default", "clivolume", "clivolume2", "clivolume3")


def test_what_names_things_of_another_host_stays_behind(host: Host, guest: Guest, names: Callable[[], str]) -> None:
    made, again = guest(), names()
    take_in(host, export(host, f"/1.0/instances/{made}"), name=again)
    old, new = (host.get(f"/1.0/instances/{each}")["config"] for each in (made, again))
    assert old["volatile.eth0.host_name"]
    assert "volatile.eth0.host_name" not in new
    assert old["volatile.uuid"] != new["volatile.uuid"]
    assert old["volatile.eth0.hwaddr"] != new.get("volatile.eth0.hwaddr")


def test_the_index_says_what_lxd_asks_for(host: Host, guest: Guest) -> None:
    made = with_history(host, guest, "default")
    backup = export(host, f"/1.0/instances/{made}", compression_algorithm="none")
    with tarfile.open(fileobj=io.BytesIO(backup)) as tar:
        index = yaml.safe_load(tar.extractfile("backup/index.yaml"))  # type: ignore[arg-type]
    assert (index["name"], index["type"], index["pool"], index["snapshots"]) == (
        made,
        "container",
        "default",
        ["one", "two"],
    )
    assert index["config"]["container"]["name"] == made
    assert [each["name"] for each in index["config"]["snapshots"]] == ["one", "two"]
    assert index["config"]["volume"]["type"] == "container"


def test_states_of_one_second_and_one_size_are_told_apart(
    host: Host, guest: Guest, pool: str, names: Callable[[], str]
) -> None:
    made = guest(devices={"root": {"type": "disk", "path": "/", "pool": pool}})
    for state in ("one", "two"):
        host.exec(made, "sh", "-c", f"echo {state} > /root/state; touch -d @1000000000 /root/state")
        host.call("POST", f"/1.0/instances/{made}/snapshots", {"name": state})
    again = names()
    take_in(host, export(host, f"/1.0/instances/{made}"), name=again)
    host.power(again, "start")
    assert host.exec(again, "cat", "/root/state").stdout == "two\n"


def test_the_server_says_how_backups_are_compressed(host: Host, guest: Guest) -> None:
    made = guest(start=False)
    host.call("PATCH", "/1.0", {"config": {"backups.compression_algorithm": "gzip"}})
    try:
        assert export(host, f"/1.0/instances/{made}").startswith(b"\x1f\x8b")
    finally:
        host.call("PATCH", "/1.0", {"config": {"backups.compression_algorithm": ""}})
    assert export(host, f"/1.0/instances/{made}").startswith(b"\x28\xb5\x2f\xfd")
