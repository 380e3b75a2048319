"""Paths below a root: what the guest sees, and nothing outside."""

import errno
import os
import threading
from pathlib import Path

import pytest

from hutch.errors import Invalid
from hutch.kernel import safepath


@pytest.fixture
def root(tmp_path: Path) -> int:
    (tmp_path / "outside").write_text("secret")
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc" / "hosts").write_text("guest's")
    (inside / "absolute").symlink_to("/etc/hosts")
    (inside / "climbing").symlink_to("../../../outside")
    (inside / "loop").symlink_to("loop")
    return os.open(inside, os.O_PATH)


def text(root: int, path: str) -> str:
    held = safepath.resolve(root, path)
    fd = safepath.reopen(held, os.O_RDONLY)
    try:
        return os.read(fd, 100).decode()
    finally:
        os.close(fd)
        os.close(held)


@pytest.mark.parametrize("path", ["/etc/hosts", "etc/hosts", "/../../etc/hosts", "absolute", "/etc/../etc/hosts"])
def test_a_path_is_what_the_guest_sees(root: int, path: str) -> None:
    assert text(root, path) == "guest's"


@pytest.mark.parametrize("path", ["climbing", "../outside", "/proc/self/root/etc/hosts", "/etc/hosts/x"])
def test_there_is_nothing_outside(root: int, path: str) -> None:
    with pytest.raises((FileNotFoundError, NotADirectoryError)):
        safepath.resolve(root, path)


def test_links_that_lead_nowhere_end(root: int) -> None:
    with pytest.raises(OSError, match="symbolic links") as refused:
        safepath.resolve(root, "loop")
    assert refused.value.errno == errno.ELOOP


def test_links_of_the_kernel_are_not_followed() -> None:
    root = os.open("/", os.O_PATH)
    with pytest.raises(OSError, match="symbolic links"):
        safepath.resolve(root, "/proc/self/root/etc")


def test_a_parent_is_resolved_and_the_last_name_is_not(root: int) -> None:
    folder, name = safepath.parent(root, "/etc/../climbing/")
    assert name == "climbing"
    assert os.fstat(folder).st_ino == os.fstat(root).st_ino


@pytest.mark.parametrize("path", ["", "/", "etc/..", ".", "//"])
def test_a_path_without_a_name_has_no_parent(root: int, path: str) -> None:
    with pytest.raises(Invalid):
        safepath.parent(root, path)


def test_a_null_byte_is_refused(root: int) -> None:
    with pytest.raises(Invalid):
        safepath.resolve(root, "etc\0hosts")


def test_files_of_the_kernel_are_known() -> None:
    for path, name in (("/proc/sys/kernel/core_pattern", "proc"), ("/sys/kernel", "sysfs"), ("/tmp", "")):
        fd = os.open(path, os.O_PATH)
        assert safepath.pseudo(fd) == name
        os.close(fd)


def test_a_race_of_renames_never_leads_out(tmp_path: Path) -> None:
    """A folder deep inside is swapped with one near the top while a path climbs out of it by `..`."""
    (tmp_path / "marker").write_text("outside")
    inside = tmp_path / "root"
    (inside / "a" / "b" / "c").mkdir(parents=True)
    root = os.open(inside, os.O_PATH)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (inside / "a" / "b").rename(inside / "moved")
            (inside / "moved").rename(inside / "a" / "b")

    racer = threading.Thread(target=swap)
    racer.start()
    try:
        for _ in range(5000):
            for path in ("a/b/c/../../../marker", "a/b/c/../../../../marker", "a/b/../../marker"):
                with pytest.raises(OSError, match=r"No such file|Resource|renamed"):
                    safepath.resolve(root, path)
    finally:
        stop.set()
        racer.join()
        os.close(root)
