"""Attaches a detached mount inside a running guest, or takes one away: mount_into.py PID attach|detach|remove PATH [FD].

`remove` takes the empty file too that the mount was attached to.

Runs as the guest's root in the guest's namespaces, so that its paths and symbolic links mean what they mean there. Standard library only.
"""

import ctypes
import os
import stat
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x1000_0000
MOVE_MOUNT = 429
AT_FDCWD, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_SYMLINKS = -100, 0x04, 0x10
MNT_DETACH = 2
libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise SystemExit(f"{what}: {os.strerror(number)}")


def enter(pid: int) -> None:
    """Become root of the guest. The mount namespace comes first: a guest's root may not open it from outside."""
    kinds = (("mnt", CLONE_NEWNS), ("user", CLONE_NEWUSER))
    opened = [(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), name, kind) for name, kind in kinds]
    ours = Path("/proc/self/ns/user").stat().st_ino
    for descriptor, name, kind in opened:
        if name == "user" and os.fstat(descriptor).st_ino == ours:
            continue
        checked(libc.setns(descriptor, kind), f"setns {name}")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def make_target(path: Path, is_folder: bool) -> None:
    (path if is_folder else path.parent).mkdir(parents=True, exist_ok=True)
    if not is_folder and not path.exists():
        path.touch()


def main() -> None:
    pid, action, path = int(sys.argv[1]), sys.argv[2], "/" + sys.argv[3]
    is_folder = action == "attach" and stat.S_ISDIR(os.fstat(int(sys.argv[4])).st_mode)
    enter(pid)
    if action != "attach":
        checked(libc.umount2(os.fsencode(path), MNT_DETACH), f"umount {path}")
        if action == "remove" and Path(path).is_file() and not Path(path).stat().st_size:
            Path(path).unlink()
        return
    make_target(Path(path), is_folder)
    tree, flags = int(sys.argv[4]), MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS
    checked(libc.syscall(MOVE_MOUNT, tree, b"", AT_FDCWD, os.fsencode(path), flags), f"mount at {path}")


main()
