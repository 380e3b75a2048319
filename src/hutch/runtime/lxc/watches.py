"""The folders and files that a guest's programs watch (inotify, fanotify), by path.

CRIU cannot open again what is watched on an overlay, and looks for it in a few folders only. What is found here is
given to it as the cache of inodes and paths that it reads first (irmap-cache; criu's images/fh.proto).
"""

import contextlib
import ctypes
import os
import re
import struct
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hutch.kernel import mount, safepath
from hutch.kernel.syscalls import libc
from hutch.runtime.lxc import protobuf

CACHE, FILES = "irmap-cache", "files.img"
SEARCH_SECONDS = 20.0

_MAGIC = struct.pack("<II", 0x5510_5940, 0x5700_4059)
_LINE = re.compile(
    r"^[if]a?notify .*?ino:(?P<inode>\w+) sdev:(?P<device>\w+) .*fhandle-bytes:\w+ fhandle-type:(?P<type>\w+) "
    r"f_handle:(?P<handle>\w*)$",
    re.MULTILINE,
)
# CRIU finds what is watched in these by itself.
_KERNELS = {"tmpfs", "devtmpfs", "cgroup", "cgroup2", "proc", "sysfs", "mqueue", "devpts", "ramfs"}


@dataclass(frozen=True)
class Watch:
    """An inode by the kernel's number of its filesystem, with the handle that its filesystem gives it."""

    device: int
    inode: int
    type: int = 0
    handle: bytes = b""

    @property
    def key(self) -> tuple[int, int]:
        return self.device, self.inode


def note(init: int, pids: Iterable[int], images: Path) -> None:
    """Write down for CRIU where what the processes watch is, as the guest of `init` sees it. Blocks."""
    found = paths(init, {watch for pid in pids for watch in _of(pid)})
    entries = (
        protobuf.number(1, device)
        + protobuf.number(2, inode)
        + protobuf.text(3, os.fsencode(path) if path != "/" else b"/.")
        for (device, inode), path in found.items()
    )
    (images / CACHE).write_bytes(protobuf.image(_MAGIC, entries))


def _of(pid: int) -> Iterator[Watch]:
    with contextlib.suppress(OSError):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(fd.readlink()).endswith(("inotify", "[fanotify]")):
                    yield from parsed(Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text())


def parsed(text: str) -> Iterator[Watch]:
    """The watches of a descriptor as its fdinfo shows them (proc_pid_fdinfo(5)): numbers in hexadecimal."""
    for match in _LINE.finditer(text):
        device, inode, kind = (int(match[name], 16) for name in ("device", "inode", "type"))
        yield Watch(device, inode, kind, bytes.fromhex(match["handle"]))


def paths(init: int, watches: Iterable[Watch]) -> dict[tuple[int, int], str]:
    """Where each watched inode is in the guest; those that are not found are left out, and so are links to nothing."""
    found: dict[tuple[int, int], str] = {}
    places: dict[int, list[str]] = {}
    for each in mount.mounts(init):
        if each.fstype not in _KERNELS:
            places.setdefault(_number(each.device), []).append(str(each.path))
    root = os.open(f"/proc/{init}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        left: dict[int, set[int]] = {}
        for watch in watches:
            path = next((path for place in places.get(watch.device, ()) if (path := _opened(root, place, watch))), "")
            if path:
                found[watch.key] = path
            elif watch.device in places:
                left.setdefault(watch.device, set()).add(watch.inode)
        end = time.monotonic() + SEARCH_SECONDS
        for device, inodes in left.items():
            for place in places[device]:
                found |= {(device, inode): path for inode, path in _searched(root, place, inodes, end)}
        return {key: path for key, path in found.items() if _leads_somewhere(root, path)}
    finally:
        os.close(root)


def _number(device: str) -> int:
    """MAJOR:MINOR as the kernel keeps it and fdinfo shows it."""
    major, minor = map(int, device.split(":"))
    return major << 20 | minor


def _opened(root: int, place: str, watch: Watch) -> str:
    """The path of a handle that its filesystem can open (an overlay cannot); empty when it cannot, or has lost the name."""
    handle = struct.pack("=Ii", len(watch.handle), watch.type) + watch.handle
    with contextlib.suppress(OSError), mount.closing(safepath.resolve(root, place, os.O_DIRECTORY)) as where:
        with mount.closing(safepath.reopen(where, os.O_RDONLY)) as start:
            buffer = ctypes.create_string_buffer(handle, len(handle))
            fd = libc("open_by_handle_at", start, buffer, os.O_PATH | os.O_CLOEXEC, what="open_by_handle_at")
        with mount.closing(fd):
            path = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
            with mount.closing(safepath.resolve(root, path, os.O_NOFOLLOW)) as named:
                return path if os.path.samestat(os.fstat(fd), os.fstat(named)) else ""
    return ""


def _searched(root: int, place: str, inodes: set[int], end: float) -> Iterator[tuple[int, str]]:
    """Look through one mount, shallow folders first; takes what it finds out of `inodes`."""
    device = None
    folders = deque([place])
    while folders and inodes and time.monotonic() < end:
        path = folders.popleft()
        try:
            with mount.closing(safepath.resolve(root, path, os.O_DIRECTORY | os.O_NOFOLLOW)) as folder:
                status = os.fstat(folder)
                device = device or status.st_dev
                if status.st_dev != device:
                    continue
                if status.st_ino in inodes:
                    inodes.discard(status.st_ino)
                    yield status.st_ino, path
                with mount.closing(safepath.reopen(folder, os.O_RDONLY)) as opened, os.scandir(opened) as entries:
                    for entry in entries:
                        below = f"{path.rstrip('/')}/{entry.name}"
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(below)
                        elif entry.inode() in inodes:
                            inodes.discard(entry.inode())
                            yield entry.inode(), below
        except OSError:
            continue


def _leads_somewhere(root: int, path: str) -> bool:
    with contextlib.suppress(OSError):
        os.close(safepath.resolve(root, path))
        return True
    return False


def use_paths(images: Path) -> None:
    """Give every watch that CRIU stored by its handle alone the path that was noted: another root has other inodes. Blocks."""
    known = {
        (protobuf.first(each, 1), protobuf.first(each, 2)): protobuf.first(each, 3)
        for each in protobuf.entries((images / CACHE).read_bytes())
    }

    def handle(device: protobuf.Value | None, inode: protobuf.Value | None, message: bytes) -> bytes:
        path = known.get((device, inode))
        if not isinstance(path, bytes) or protobuf.first(message, 4) is not None:
            return message
        return message + protobuf.text(4, path)

    def inotify(watch: bytes) -> bytes:
        device, inode = protobuf.first(watch, 5), protobuf.first(watch, 2)
        return protobuf.changed(watch, {7: partial(handle, device, inode)})

    def fanotify(mark: bytes) -> bytes:
        def of_inode(message: bytes) -> bytes:
            return protobuf.changed(message, {2: partial(handle, protobuf.first(mark, 6), protobuf.first(message, 1))})

        return protobuf.changed(mark, {7: of_inode})

    # A file_entry's fields for the two kinds of descriptor, and theirs for what they watch.
    kinds = {
        13: partial(protobuf.changed, changes={5: inotify}),
        14: partial(protobuf.changed, changes={6: fanotify}),
    }
    data = (images / FILES).read_bytes()
    new = protobuf.image(data, (protobuf.changed(each, kinds) for each in protobuf.entries(data)))
    if new != data:
        (images / FILES).write_bytes(new)
