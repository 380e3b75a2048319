"""Backups in a restic repository: incremental, encrypted, verified, and restored under a new name."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts import Host

pytestmark = pytest.mark.skipif(shutil.which("restic") is None, reason="restic is not installed")
Hutch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hutch(host: Host, tmp_path: Path) -> Iterator[Hutch]:
    """`hutch backup` with a repository of the test's own."""
    environment = {
        "RESTIC_REPOSITORY": str(tmp_path / "repository"),
        "RESTIC_PASSWORD_FILE": str(tmp_path / "key"),
        "RESTIC_CACHE_DIR": str(tmp_path / "cache"),
    }

    def run(*words: str, **how: object) -> "subprocess.CompletedProcess[str]":
        return host.hutch("backup", *words, env=environment, **how)

    run("init")
    yield run
    for name in ("again", "again-old"):
        if host.api.exists(f"/1.0/instances/{name}"):
            host.delete(name)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_backups_are_incremental_and_are_restored_under_new_names(
    host: Host, guest: Callable[..., str], hutch: Hutch, tmp_path: Path
) -> None:
    made = guest()
    host.exec(made, "sh", "-c", "dd if=/dev/urandom of=/root/big bs=1M count=8 2>/dev/null; echo one > /root/state")
    hutch("create", made)
    first = size(tmp_path / "repository")
    host.exec(made, "sh", "-c", "echo two > /root/state")
    hutch("create", made)
    second = size(tmp_path / "repository")

    assert second - first < first // 3
    secret = (tmp_path / "key").read_text().strip()
    assert len(secret) > 30
    assert not [
        path for path in (tmp_path / "repository").rglob("*") if path.is_file() and b"state" in path.read_bytes()
    ]
    listed = json.loads(hutch("list", "--format", "json").stdout)
    assert [each["name"] for each in listed] == [made, made]
    hutch("restore", made, "again")
    hutch("restore", listed[0]["id"], "again-old")
    for name, text in (("again", "two\n"), ("again-old", "one\n")):
        host.power(name, "start")
        assert host.exec(name, "cat", "/root/state").stdout == text


def test_old_backups_are_forgotten_and_the_rest_is_verified(
    host: Host, guest: Callable[..., str], hutch: Hutch, tmp_path: Path
) -> None:
    made = guest(start=False)
    host.call("POST", "/1.0/storage-pools/default/volumes/custom", {"name": "restic"})
    for _ in range(2):
        hutch("create", made, "default/restic")
    assert "--keep-last" in hutch("forget", check=False).stderr
    hutch("forget", "--keep-last", "1")
    kept = json.loads(hutch("list", "--format", "json").stdout)
    assert sorted((each["kind"], each["name"]) for each in kept) == [("instance", made), ("volume", "default/restic")]
    hutch("check", "--read-data")
    hutch("restore", "default/restic", "restic2")
    assert host.api.exists("/1.0/storage-pools/default/volumes/custom/restic2")

    pack = next(path for path in (tmp_path / "repository" / "data").rglob("*") if path.is_file())
    pack.chmod(0o600)
    pack.write_bytes(bytes(pack.stat().st_size))
    assert hutch("check", "--read-data", check=False).returncode != 0
    assert "no backup 'nobody'" in hutch("restore", "nobody", check=False).stderr
    for name in ("restic", "restic2"):
        host.call("DELETE", f"/1.0/storage-pools/default/volumes/custom/{name}")


def test_a_backup_that_breaks_off_is_not_kept(host: Host, hutch: Hutch) -> None:
    assert hutch("create", "nobody", check=False).returncode != 0
    assert json.loads(hutch("list", "--format", "json").stdout) == []
