"""Tells when paths come and go: inotify(7) on the folder that is to hold each, or the nearest one that exists."""

import asyncio
import contextlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

from hutch.kernel.syscalls import libc

_NONBLOCK, _CLOEXEC = 0x800, 0x80000
_CREATE, _DELETE, _MOVED, _SELF = 0x100, 0x200, 0xC0, 0xC00
_HEAD = struct.Struct("iIII")


class PathWatch:
    """Calls `changed` with a key, from the event loop, when what is at its path may have come or gone."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._fd = -1
        self._paths: dict[str, Path] = {}
        self._armed: dict[str, tuple[int, str]] = {}

    def add(self, key: str, path: Path) -> None:
        """Watch a path under a key, in place of what the key stood for."""
        if self._fd < 0:
            self._fd = libc("inotify_init1", _NONBLOCK | _CLOEXEC)
            asyncio.get_running_loop().add_reader(self._fd, self._read)
        self._paths[key] = path
        self._arm(key)

    def drop(self, key: str) -> None:
        """Does nothing if absent."""
        self._paths.pop(key, None)
        self._disarm(key)

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
        self._fd = -1

    def _arm(self, key: str) -> None:
        folder, name = self._paths[key].parent, self._paths[key].name
        while not folder.is_dir():
            folder, name = folder.parent, folder.name
        number = libc("inotify_add_watch", self._fd, os.fsencode(folder), _CREATE | _DELETE | _MOVED | _SELF)
        if self._armed.get(key, (number,))[0] != number:
            self._disarm(key)
        self._armed[key] = number, name

    def _disarm(self, key: str) -> None:
        number, _ = self._armed.pop(key, (-1, ""))
        if number >= 0 and all(other != number for other, _ in self._armed.values()):
            with contextlib.suppress(OSError):
                libc("inotify_rm_watch", self._fd, number)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._fd, 65536)
            at, touched = 0, set()
            while at < len(data):
                number, mask, _, length = _HEAD.unpack_from(data, at)
                name = os.fsdecode(data[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0"))
                at += _HEAD.size + length
                touched |= {
                    key
                    for key, (watched, wanted) in self._armed.items()
                    if watched == number and (name == wanted or mask & _SELF)
                }
            for key in sorted(touched):
                self._arm(key)
                self._changed(key)
