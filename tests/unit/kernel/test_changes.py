import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from hutch.kernel import changes
from hutch.kernel.changes import Seen


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def _send(source: Path, target: Path, before: Seen) -> Seen:
    """One pass; what the source looks like now."""
    ours, theirs = _open(source), _open(target)
    try:
        after = changes.look(ours)
        sent: list[bytes] = []
        changes.pack(ours, changes.since(before, after), sent.append)
        changes.unpack(theirs, _reader(b"".join(sent)))
        return after
    finally:
        os.close(ours)
        os.close(theirs)


def _reader(data: bytes) -> Callable[[], bytes]:
    pieces = iter([data[at : at + 7] for at in range(0, len(data), 7)])

    def receive() -> bytes:
        piece = next(pieces, b"")
        if not piece:
            raise EOFError
        return piece

    return receive


def _facts(root: Path) -> dict[str, tuple[object, ...]]:
    found = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        held = path.read_bytes() if kind == stat.S_IFREG else path.readlink() if kind == stat.S_IFLNK else None
        xattrs = () if kind == stat.S_IFLNK else tuple((each, os.getxattr(path, each)) for each in os.listxattr(path))
        links = status.st_nlink if kind == stat.S_IFREG else 0
        found[str(path.relative_to(root))] = (
            *(status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev, held, xattrs, links),
        )
    return found


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "folder").mkdir(mode=0o750)
    (source / "folder/file").write_text("first")
    (source / "folder/file").chmod(0o4755)
    (source / "other").hardlink_to(source / "folder/file")
    (source / "folder/link").symlink_to("../nowhere")
    (source / os.fsdecode(b"caf\xe9 \n")).write_bytes(b"\0" * 600_000 + b"end")
    os.mkfifo(source / "pipe")
    return source, target


def test_a_tree_arrives_whole(trees: tuple[Path, Path]) -> None:
    source, target = trees
    (target / "folder").mkdir()
    (target / "folder/file").mkdir()

    _send(source, target, Seen())

    assert _facts(target) == _facts(source)
    assert (target / "other").samefile(target / "folder/file")


def test_only_what_changed_is_sent_again(trees: tuple[Path, Path]) -> None:
    source, target = trees
    before = _send(source, target, Seen())
    before = Seen(
        {path: (looks[0], source.joinpath(path).lstat().st_ctime_ns, looks[2]) for path, looks in before.looks.items()}
    )
    kept = (target / "pipe").stat().st_ino
    (source / "folder/file").write_text("second")
    (source / "folder/link").unlink()
    (source / "pipe2").symlink_to("pipe")

    _send(source, target, before)

    assert _facts(target) == _facts(source)
    assert (target / "pipe").stat().st_ino == kept


def test_what_has_just_changed_counts_as_changed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("now")
    root = _open(tmp_path)
    try:
        seen = changes.look(root)
        assert "file" in changes.since(seen, seen).changed
    finally:
        os.close(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_overlays_whiteouts_go_along_and_its_notes_stay(trees: tuple[Path, Path]) -> None:
    source, target = trees
    os.mknod(source / "gone", stat.S_IFCHR, 0)
    os.setxattr(source / "folder", "trusted.overlay.opaque", b"y")
    os.setxattr(source / "folder", "trusted.overlay.origin", b"x")

    _send(source, target, Seen())

    assert (target / "gone").stat().st_rdev == 0
    assert os.listxattr(target / "folder") == ["trusted.overlay.opaque"]


@pytest.mark.parametrize("path", [b"../out", b"a/../../out", b"/out", b"folder/link/out"])
def test_nothing_is_written_outside(trees: tuple[Path, Path], path: bytes) -> None:
    source, target = trees
    _send(source, target, Seen())
    (target / "folder/link").unlink()
    (target / "folder/link").symlink_to("../..")
    evil = [changes.Entry(path, mode=stat.S_IFREG | 0o644), changes.Entry(end=True)]
    root = _open(target)
    try:
        with pytest.raises((ValueError, OSError)):
            changes.unpack(root, _reader(b"".join(map(changes._line, evil))))
    finally:
        os.close(root)
    assert not (target.parent / "out").exists()


def test_a_stream_that_is_cut_short_is_an_error(trees: tuple[Path, Path]) -> None:
    root = _open(trees[1])
    try:
        with pytest.raises(EOFError):
            changes.unpack(root, _reader(changes._line(changes.Entry(b"file", mode=stat.S_IFREG, size=9)) + b"abc"))
    finally:
        os.close(root)
