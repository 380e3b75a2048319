"""Files of instances, whether they run or not: read, written and deleted below the guest's root and nowhere else."""

import contextlib
import os
import stat
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from hutch.errors import AlreadyExists, Conflict, Invalid, NotFound
from hutch.kernel import idmap as ids
from hutch.kernel import safepath
from hutch.service.instances import render
from hutch.service.instances.inside import Root, root, translated
from hutch.service.parts import Parts

BLOCK = 1 << 20
"""Bytes that are read or written at once: a transfer needs no more memory than a few of them."""
_LONGEST_LINK = 4096


@dataclass(frozen=True)
class Facts:
    """What is at a path: `kind` is file, directory or symlink, the ids are the guest's own."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    modified: datetime


@dataclass(frozen=True)
class Wanted:
    """What a client wants to be at a path. Modes and ids are for what is new, or for all with `modify`."""

    kind: str = "file"
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    append: bool = False
    modify: bool = False


@dataclass
class Entry:
    """What was found at a path: a file's `content` by descriptor, a folder's names, or a link's target."""

    root: Root
    path: str
    facts: Facts
    content: int | None = None
    names: list[str] = field(default_factory=list)
    target: bytes = b""

    async def blocks(self) -> AsyncIterator[bytes]:
        """The content of a file, to the size it had when it was found; of one with no size, all there is."""
        left = self.facts.size or None
        assert self.content is not None
        while left is None or left > 0:
            with translated(self.path):
                block = await self.root.worker.call(os.read, self.content, min(BLOCK, left or BLOCK))
            if not block:
                return
            left = left and left - len(block)
            yield block


@asynccontextmanager
async def opened(parts: Parts, project: str, name: str, path: str) -> AsyncIterator[Entry]:
    """What is at the path, not following a last link."""
    async with root(parts, project, name) as place:
        entry = await place.do(_open, path)
        try:
            parts.events.lifecycle("instance-file-retrieved", render.url(project, name), project, {"path": path})
            yield entry
        finally:
            if entry.content is not None:
                place.worker.later(partial(os.close, entry.content))


def _open(place: Root, path: str) -> Entry:
    with ExitStack() as stack:
        held = safepath.resolve(place.fd, path, os.O_NOFOLLOW)
        stack.callback(os.close, held)
        found = os.fstat(held)
        entry = Entry(place, path, _facts(place, path, found))
        place.check_readable(held, path)
        if entry.facts.kind == "symlink":
            entry.target = os.fsencode(os.readlink("", dir_fd=held))
        elif entry.facts.kind == "directory":
            folder = safepath.reopen(held, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, folder)
            entry.names = sorted(os.listdir(folder))  # noqa: PTH208
        else:
            entry.content = safepath.reopen(held, os.O_RDONLY)
        return entry


def _facts(place: Root, path: str, found: os.stat_result) -> Facts:
    kind = safepath.kind(found.st_mode)
    if not kind:
        raise Invalid(f"{path} is a device, pipe or socket: only files, folders and symbolic links can be read")
    return Facts(
        kind,
        stat.S_IMODE(found.st_mode),
        ids.from_host(place.idmap, "u", found.st_uid),
        ids.from_host(place.idmap, "g", found.st_gid),
        found.st_size if kind == "file" else 0,
        datetime.fromtimestamp(found.st_mtime, UTC),
    )


async def write(
    parts: Parts, project: str, name: str, path: str, wanted: Wanted, content: AsyncIterator[bytes]
) -> None:
    """Put something at the path. A new file appears when it is whole; an existing one is written in place, as LXD does."""
    async with root(parts, project, name) as place:
        match wanted.kind:
            case "file":
                await _write_file(place, path, wanted, content)
            case "directory":
                await place.do(_make_folder, path, wanted)
            case "symlink":
                await place.do(_make_link, path, wanted, await _link_target(content))
            case _:
                raise Invalid(f"Bad file type: {wanted.kind}")
    parts.events.lifecycle("instance-file-pushed", render.url(project, name), project, {"path": path})


async def _write_file(place: Root, path: str, wanted: Wanted, content: AsyncIterator[bytes]) -> None:
    upload = await place.do(_begin, path, wanted)
    try:
        async for block in content:
            await place.do(upload.write, path, block)
        await place.do(upload.commit, path, wanted)
    finally:
        place.worker.later(upload.close)


@dataclass
class _Upload:
    """A file being written. `folder`, `name` and `hidden` are set while it has another name."""

    fd: int
    new: bool
    folder: int = -1
    name: str = ""
    hidden: str = ""

    def write(self, place: Root, path: str, block: bytes) -> None:
        view = memoryview(block)
        while view:
            view = view[os.write(self.fd, view) :]

    def commit(self, place: Root, path: str, wanted: Wanted) -> None:
        if self.new or wanted.modify:
            _own(place, self.fd, wanted, 0o644 if self.new else None)
        if self.hidden:
            os.rename(self.hidden, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
            self.hidden = ""

    def close(self) -> None:
        os.close(self.fd)
        if self.folder >= 0:
            if self.hidden:
                with contextlib.suppress(OSError):
                    os.unlink(self.hidden, dir_fd=self.folder)
            os.close(self.folder)


def _own(place: Root, fd: int, wanted: Wanted, mode: int | None) -> None:
    """Owner first: changing it takes away the bits for set-user-id."""
    uid, gid = place.host_ids(wanted.uid, wanted.gid)
    if (uid, gid) != (-1, -1):
        os.fchown(fd, uid, gid)
    if (mode := wanted.mode if wanted.mode is not None else mode) is not None:
        os.fchmod(fd, mode)


def _begin(place: Root, path: str, wanted: Wanted) -> _Upload:
    place.host_ids(wanted.uid, wanted.gid)
    held = _held(place, path)
    if held is None:
        if wanted.append:
            raise NotFound("Not Found")
        return _begin_new(place, path)
    try:
        _check_file(place, held, path)
        return _Upload(safepath.reopen(held, os.O_WRONLY | (os.O_APPEND if wanted.append else os.O_TRUNC)), new=False)
    finally:
        os.close(held)


def _held(place: Root, path: str) -> int | None:
    try:
        return safepath.resolve(place.fd, path)
    except FileNotFoundError:
        return None


def _check_file(place: Root, fd: int, path: str) -> None:
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise Invalid(f"{path} is a folder")
    if not stat.S_ISREG(mode):
        raise Invalid(f"{path} is a device, pipe or socket: only files can be written")
    place.check_writable(fd, path)


def _begin_new(place: Root, path: str) -> _Upload:
    if path.endswith("/"):
        raise Invalid(f"{path} names a folder")
    with ExitStack() as stack:
        folder, name = safepath.parent(place.fd, path)
        stack.callback(os.close, folder)
        place.check_writable(folder, path)
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            hidden = safepath.beside(name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(hidden, flags, 0o600, dir_fd=folder)
            stack.pop_all()
            return _Upload(fd, new=True, folder=folder, name=name, hidden=hidden)
        if not stat.S_ISLNK(found.st_mode):
            raise Conflict(f"{path} is being changed by others")
    # A link to what does not exist yet: it is made where the link points, as open(2) does.
    flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
    fd = safepath.resolve(place.fd, path, flags, 0o600)
    try:
        _check_file(place, fd, path)
    except BaseException:
        os.close(fd)
        raise
    return _Upload(fd, new=True)


def _make_folder(place: Root, path: str, wanted: Wanted) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with ExitStack() as stack:
        held = _held(place, path)
        if held is not None:
            stack.callback(os.close, held)
            if not stat.S_ISDIR(os.fstat(held).st_mode):
                raise AlreadyExists(f"{path} exists and is no folder")
            if wanted.modify:
                place.check_writable(held, path)
                fd = safepath.reopen(held, os.O_RDONLY | os.O_DIRECTORY)
                stack.callback(os.close, fd)
                _own(place, fd, wanted, None)
            return
        place.host_ids(wanted.uid, wanted.gid)
        folder, name = safepath.parent(place.fd, path)
        stack.callback(os.close, folder)
        place.check_writable(folder, path)
        os.mkdir(name, 0o700, dir_fd=folder)
        fd = os.open(name, flags, dir_fd=folder)
        stack.callback(os.close, fd)
        _own(place, fd, wanted, 0o750)


def _make_link(place: Root, path: str, wanted: Wanted, target: bytes) -> None:
    with ExitStack() as stack:
        folder, name = safepath.parent(place.fd, path)
        stack.callback(os.close, folder)
        place.check_writable(folder, path)
        with contextlib.suppress(OSError):
            if os.fsencode(os.readlink(name, dir_fd=folder)) == target:
                return
        uid, gid = place.host_ids(wanted.uid, wanted.gid)
        os.symlink(target, os.fsencode(name), dir_fd=folder)
        if (uid, gid) != (-1, -1):
            os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)


async def _link_target(content: AsyncIterator[bytes]) -> bytes:
    target = b""
    async for block in content:
        target += block
        if len(target) > _LONGEST_LINK:
            break
    if not 0 < len(target) < _LONGEST_LINK or b"\0" in target:
        raise Invalid("a symbolic link needs a target of 1 to 4095 bytes")
    return target


async def delete(parts: Parts, project: str, name: str, path: str) -> None:
    """Remove a file, a link (not what it points to) or an empty folder."""
    async with root(parts, project, name) as place:
        await place.do(_delete, path)
    parts.events.lifecycle("instance-file-deleted", render.url(project, name), project, {"path": path})


def _delete(place: Root, path: str) -> None:
    folder, name = safepath.parent(place.fd, path)
    try:
        place.check_writable(folder, path)
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            os.rmdir(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)
