"""What keeps CRIU from saving a guest, found in /proc while the guest runs on. Everything here blocks."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from hutch.kernel import mount
from hutch.kernel.cgroup import Group
from hutch.runtime.base import Obstacle

_ALONE = ("uts", "ipc", "user", "pid", "time")
_ANONYMOUS = re.compile(r"anon_inode:\[?([\w-]+)\]?")
# Descriptors without a name that CRIU saves.
_SAVED = {"eventfd", "eventpoll", "inotify", "fanotify", "signalfd", "timerfd", "pidfd", "bpf-map"}
# Devices, by number: CRIU opens those of memory and terminals again, and tun by itself.
_MEMORY, _TERMINALS, _PTYS, _TUN = 1, (4, 5), range(136, 144), (10, 200)
# Filesystems whose mounts inside a guest CRIU cannot make again.
_FOREIGN = ("fuse", "fuseblk", "nfs", "nfs4", "cifs", "9p", "ramfs", "virtiofs", "squashfs", "erofs")


def found(group: Group, init: int) -> list[Obstacle]:
    """Every obstacle, by process."""
    pids = group.processes()
    obstacles = [*_mounts(init), *_files(init)]
    for pid in sorted(pids - {init}):
        with contextlib.suppress(OSError):
            name, parent = who(pid)
            if parent not in pids:
                obstacles.append(Obstacle("was started from outside (an exec session): end it", name, pid))
                continue
            obstacles += [
                Obstacle(f"has a {kind} namespace of its own", name, pid, sandboxed=True)
                for kind in _ALONE
                if _namespace(pid, kind) != _namespace(init, kind)
            ]
            obstacles += [*_files(pid), *_traced(pid)]
    return obstacles


def who(pid: int) -> tuple[str, int]:
    """What the process calls itself, and its parent. Raises OSError when it has ended."""
    front, _, back = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    return front.partition("(")[2], int(back.split()[1])


def _namespace(pid: int, kind: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())


def _files(pid: int) -> Iterator[Obstacle]:
    name = who(pid)[0]
    seen = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(path.readlink())
            reason = _unsaved(path, target)
            if reason and reason not in seen:
                seen.add(reason)
                yield Obstacle(reason, name, pid)


def _unsaved(path: Path, target: str) -> str:
    if match := _ANONYMOUS.match(target):
        kind = match[1]
        return "" if kind in _SAVED else "uses io_uring" if kind == "io_uring" else f"holds a {kind}"
    if target.startswith("/"):
        status = path.stat()
        major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        if stat.S_ISBLK(status.st_mode):
            return f"holds the disk {target}"
        if stat.S_ISCHR(status.st_mode) and not (
            major in (_MEMORY, *_TERMINALS) or major in _PTYS or (major, minor) == _TUN
        ):
            return f"holds the device {target}"
    return ""


def _traced(pid: int) -> Iterator[Obstacle]:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("TracerPid:") and line.split()[1] != "0":
            yield Obstacle("is being traced by a debugger", who(pid)[0], pid)


def _mounts(init: int) -> Iterator[Obstacle]:
    for each in mount.mounts(init):
        kind = each.fstype
        if kind in _FOREIGN or (kind.startswith("fuse.") and kind != "fuse.lxcfs"):
            yield Obstacle(
                f"{each.path} is a mount of {kind}", sandboxed=str(each.path).startswith("/run/credentials/")
            )
