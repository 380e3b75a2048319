"""The check of what tests leave behind sees what it is for."""

import subprocess
from pathlib import Path

import pytest

from tests.hosts import leftovers, run_folder


def test_a_process_is_seen_until_it_has_ended() -> None:
    before = leftovers.snapshot()
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert f"{child.pid} sleep" in "\n".join(leftovers.snapshot()["process"] - before["process"])
    finally:
        child.kill()
        child.wait()
    assert f"{child.pid} sleep" not in "\n".join(leftovers.snapshot()["process"])


@pytest.mark.parametrize("shared", ["", "1"])
def test_on_a_shared_machine_only_marked_things_count(monkeypatch: pytest.MonkeyPatch, shared: str) -> None:
    monkeypatch.setenv("HUTCH_SHARED_MACHINE", shared)
    mine, other = f"/dev/loop0 {run_folder.folder()}/pool.img", "/dev/loop1 /elsewhere"
    before: leftovers.Snapshot = {"loop device": set()}
    left = leftovers.difference(before, {"loop device": {mine, other}})
    assert f"loop device: {mine}" in left
    assert (f"loop device: {other}" in left) is not bool(shared)


def test_what_was_there_before_does_not_count() -> None:
    before: leftovers.Snapshot = {"link": {"eth0"}}
    assert leftovers.difference(before, {"link": {"eth0"}}) == []


def test_a_folder_with_a_mount_in_it_is_not_deleted() -> None:
    with pytest.raises(AssertionError, match="there are mounts in it"):
        run_folder.remove_tree(Path("/proc"))
