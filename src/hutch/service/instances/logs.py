"""Log files of an instance: of its runtime, its console, and of commands whose output was recorded."""

import asyncio
import os
import re
import stat
from pathlib import Path

from hutch.errors import Invalid, NotFound
from hutch.service.instances import render
from hutch.service.parts import Parts

_RUNTIME = {"lxc.log": "lxc.log", "lxc.log.old": "lxc.log.old", "lxc.conf": "config", "console.log": "console.log"}
"""Names in the API of the files that belong to the runtime, which clients may not delete."""
_RECORDED = re.compile(r"(exec|migration|snapshot)_[A-Za-z0-9_.-]+")


def _path(parts: Parts, project: str, name: str, file: str) -> Path:
    parts.state.instances.get(project, name)
    folder = parts.instance_directory(project, name)
    if file in _RUNTIME:
        return folder / _RUNTIME[file]
    if not _RECORDED.fullmatch(file):
        raise Invalid(f"Log file name {file!r} not valid")
    return folder / "logs" / file


def is_recorded(file: str) -> bool:
    """Whether the file is what a command printed."""
    return file.startswith("exec_") and _RECORDED.fullmatch(file) is not None


def check_recorded(file: str) -> None:
    if not is_recorded(file):
        raise Invalid(f"Log file name {file!r} not valid")


async def names(parts: Parts, project: str, name: str) -> list[str]:
    parts.state.instances.get(project, name)
    return await asyncio.to_thread(_names, parts.instance_directory(project, name))


def _names(folder: Path) -> list[str]:
    found = [name for name, path in _RUNTIME.items() if (folder / path).is_file()]
    recorded = (folder / "logs").iterdir() if (folder / "logs").is_dir() else ()
    return found + sorted(path.name for path in recorded if _RECORDED.fullmatch(path.name))


async def open_file(parts: Parts, project: str, name: str, file: str) -> tuple[int, int]:
    """A descriptor of the log file, the caller's to close, and its size in bytes."""
    path = _path(parts, project, name, file)
    opened = await asyncio.to_thread(_open, path, file)
    parts.events.lifecycle("instance-log-retrieved", render.url(project, name), project, {"file": file})
    return opened


def _open(path: Path, file: str) -> tuple[int, int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"the log file {file} does not exist") from error
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise NotFound(f"the log file {file} does not exist")
    return fd, found.st_size


async def delete(parts: Parts, project: str, name: str, file: str) -> None:
    if file in _RUNTIME:
        raise Invalid(f"{file} belongs to the instance and cannot be deleted")
    path = _path(parts, project, name, file)
    try:
        await asyncio.to_thread(path.unlink)
    except FileNotFoundError as error:
        raise NotFound(f"the log file {file} does not exist") from error
    parts.events.lifecycle("instance-log-deleted", render.url(project, name), project, {"file": file})
