"""Trees sent as a stream of what has changed since they were last looked at, and written to another tree.

A stream is a sequence of entries: a line of JSON, then `size` bytes where it is a file. It carries owners, modes,
times, links (hard ones within one pass), devices, pipes and extended attributes, overlay's whiteouts and opaque folders with them; what
overlay notes about inodes is left out. Everything blocks.
"""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

_NOTES = frozenset(f"trusted.overlay.{name}" for name in ("origin", "impure", "nlink", "uuid"))
_CHUNK = 1 << 18
_COARSE = 20_000_000
"""Nanoseconds by which the kernel's times of change may lag: what changed so recently may change again unseen."""
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Looks = tuple[int, int, int]
"""Inode, time of change, size: a file that has the same is the same."""


@dataclass(frozen=True)
class Seen:
    """A tree as it was at one moment: everything in it by its path from the root, which is an empty one."""

    looks: dict[str, Looks] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(size for _, _, size in self.looks.values())


def look(root: int) -> Seen:
    """Everything below the folder descriptor, on its filesystem. What has just changed is remembered as unlike anything."""
    now = time.clock_gettime_ns(time.CLOCK_REALTIME)
    device = os.fstat(root).st_dev
    found: dict[str, Looks] = {}

    def note(path: str, status: os.stat_result) -> None:
        changed = status.st_ctime_ns
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        found[path] = (status.st_ino, -1 if changed > now - _COARSE else changed, size)

    def down(folder: int, prefix: str) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = prefix + entry.name
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    note(path, status)
                    if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                        within = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                        try:
                            down(within, f"{path}/")
                        finally:
                            os.close(within)

    own = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
    try:
        note("", os.fstat(own))
        down(own, "")
    finally:
        os.close(own)
    return Seen(found)


@dataclass(frozen=True)
class Changes:
    """Paths to be sent, folders before what is in them, and paths that have gone."""

    changed: list[str]
    gone: list[str]
    size: int


def since(old: Seen, new: Seen) -> Changes:
    changed = [path for path, looks in new.looks.items() if looks[1] == -1 or old.looks.get(path) != looks]
    gone = sorted(path for path in old.looks.keys() - new.looks.keys())
    return Changes(changed, gone, sum(new.looks[path][2] for path in changed))


class Entry(msgspec.Struct, omit_defaults=True):
    """What is sent of one name. `gone`: nothing is there any more; `link`: it is the same file as another name; `end`: all is said."""

    path: bytes = b""
    gone: bool = False
    end: bool = False
    link: bytes | None = None
    mode: int = 0
    ids: tuple[int, int] = (0, 0)
    times: tuple[int, int] = (0, 0)
    target: bytes = b""
    xattrs: dict[str, bytes] = {}
    device: int = 0
    size: int = 0

    @property
    def kind(self) -> int:
        return stat.S_IFMT(self.mode)


def pack(root: int, changes: Changes, send: Callable[[bytes], None]) -> None:
    """Send what has changed, and the end. What vanished meanwhile is left out: the next look tells."""
    for path in changes.gone:
        send(_line(Entry(os.fsencode(path), gone=True)))
    links: dict[int, str] = {}
    for path in changes.changed:
        with contextlib.suppress(FileNotFoundError):
            _pack(root, path, links, send)
    send(_line(Entry(end=True)))


def _line(entry: Entry) -> bytes:
    return msgspec.json.encode(entry) + b"\n"


def _pack(root: int, path: str, links: dict[int, str], send: Callable[[bytes], None]) -> None:
    holder = os.open(path or ".", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    try:
        status = os.fstat(holder)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFSOCK:
            return
        first = path if kind == stat.S_IFDIR or status.st_nlink == 1 else links.setdefault(status.st_ino, path)
        if first != path:
            send(_line(Entry(os.fsencode(path), link=os.fsencode(first))))
            return
        place = f"/proc/self/fd/{holder}"
        entry = Entry(
            os.fsencode(path),
            mode=status.st_mode,
            ids=(status.st_uid, status.st_gid),
            times=(status.st_atime_ns, status.st_mtime_ns),
        )
        if kind == stat.S_IFLNK:
            entry.target = os.fsencode(os.readlink("", dir_fd=holder))
        else:
            entry.xattrs = {name: os.getxattr(place, name) for name in os.listxattr(place) if name not in _NOTES}
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            entry.device = status.st_rdev
        entry.size = status.st_size if kind == stat.S_IFREG else 0
        send(_line(entry))
        if entry.size:
            _pack_data(place, entry.size, send)
    finally:
        os.close(holder)


def _pack_data(place: str, size: int, send: Callable[[bytes], None]) -> None:
    """Exactly `size` bytes, whatever happens to the file meanwhile."""
    file = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME)
    try:
        left = size
        while left:
            chunk = os.read(file, min(_CHUNK, left)) or bytes(min(_CHUNK, left))
            send(chunk)
            left -= len(chunk)
    finally:
        os.close(file)


def unpack(root: int, receive: Callable[[], bytes]) -> int:
    """Write one pass below the folder descriptor, never outside of it; the bytes of files. `receive` answers the next bytes.

    Raises ValueError for what is no such stream, EOFError (as `receive` does) when it is cut short.
    """
    source = _Source(receive)
    total = 0
    folders: list[Entry] = []
    while not (entry := source.entry()).end:
        path = os.fsdecode(entry.path)
        if entry.gone:
            _remove(root, path)
        elif entry.link is not None:
            _link(root, path, os.fsdecode(entry.link))
        else:
            _unpack(root, path, entry, source)
            total += entry.size
            if entry.kind == stat.S_IFDIR:
                folders.append(entry)
    # Last: what was put into a folder has changed its times.
    for entry in reversed(folders):
        with _in_parent(root, os.fsdecode(entry.path)) as (folder, name):
            os.utime(name, ns=entry.times, dir_fd=folder, follow_symlinks=False)
    return total


class _Source:
    """What `receive` answers, as entries and data. Nothing behind the end of a pass may have been sent with it."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive, self._left = receive, b""

    def entry(self) -> Entry:
        while (end := self._left.find(b"\n")) < 0:
            self._left += self._receive()
        line, self._left = self._left[:end], self._left[end + 1 :]
        return msgspec.json.decode(line, type=Entry)

    def data(self, size: int) -> Iterator[bytes]:
        while size:
            chunk = self._left or self._receive()
            self._left = chunk[size:]
            chunk = chunk[:size]
            size -= len(chunk)
            yield chunk


@contextlib.contextmanager
def _in_parent(root: int, path: str) -> Iterator[tuple[int, str]]:
    """The folder that holds `path` and the name in it; no link on the way is followed."""
    words = path.split("/") if path else []
    if any(word in ("", ".", "..") or "\0" in word for word in words):
        raise ValueError(f"{path!r} is no path below a root")
    folder = os.open(".", _FOLDER, dir_fd=root)
    try:
        for word in words[:-1]:
            within = os.open(word, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = within
        yield folder, words[-1] if words else "."
    finally:
        os.close(folder)


def _remove(root: int, path: str) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), _in_parent(root, path) as (folder, name):
        _clear(folder, name)


def _clear(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=folder)
            return
        within = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            for each in os.listdir(within):  # noqa: PTH208
                _clear(within, each)
        finally:
            os.close(within)
        os.rmdir(name, dir_fd=folder)


def _link(root: int, path: str, first: str) -> None:
    with _in_parent(root, path) as (folder, name), _in_parent(root, first) as (other, known):
        _clear(folder, name)
        os.link(known, name, src_dir_fd=other, dst_dir_fd=folder, follow_symlinks=False)


def _unpack(root: int, path: str, entry: Entry, source: _Source) -> None:
    with _in_parent(root, path) as (folder, name):
        if not (entry.kind == stat.S_IFDIR and _is_folder(folder, name)):
            _clear(folder, name)
            _make(folder, name, entry)
        if entry.kind == stat.S_IFREG:
            file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                for chunk in source.data(entry.size):
                    _write(file, chunk)
                os.ftruncate(file, entry.size)
            finally:
                os.close(file)
        _dress(folder, name, entry)


def _is_folder(folder: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _make(folder: int, name: str, entry: Entry) -> None:
    if entry.kind == stat.S_IFDIR:
        os.mkdir(name, 0o700, dir_fd=folder)
    elif entry.kind == stat.S_IFLNK:
        os.symlink(os.fsdecode(entry.target), name, dir_fd=folder)
    elif entry.kind == stat.S_IFREG:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder))
    else:
        os.mknod(name, entry.kind | 0o600, entry.device, dir_fd=folder)


def _write(file: int, chunk: bytes) -> None:
    """Zeros become a hole."""
    if not chunk.strip(b"\0"):
        os.lseek(file, len(chunk), os.SEEK_CUR)
        return
    view = memoryview(chunk)
    while view:
        view = view[os.write(file, view) :]


def _dress(folder: int, name: str, entry: Entry) -> None:
    os.chown(name, *entry.ids, dir_fd=folder, follow_symlinks=False)
    if entry.kind != stat.S_IFLNK:
        holder = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            place = f"/proc/self/fd/{holder}"
            # After the owner, whose change takes such bits and capabilities away.
            Path(place).chmod(stat.S_IMODE(entry.mode))
            _set_xattrs(place, entry.xattrs)
        finally:
            os.close(holder)
    os.utime(name, ns=entry.times, dir_fd=folder, follow_symlinks=False)


def _set_xattrs(place: str, wanted: dict[str, bytes]) -> None:
    for name in os.listxattr(place):
        if name not in wanted and name not in _NOTES:
            os.removexattr(place, name)
    for name, value in wanted.items():
        try:
            os.setxattr(place, name, value)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
