"""Becomes rsync that sees the system's programs, a staging folder with volumes mounted in it, and nothing else.

`python -m hutch.helper.transfer STAGE TREES UID:GID PROGRAM ARGUMENT...`: TREES is NAME=DESCRIPTOR[,NAME=DESCRIPTOR], detached
mounts that are put on the folders of those names in STAGE. What rsync writes and deletes is another server's matter: here it
cannot be anything but what it was given, whatever that server sends, and whatever rsync makes of its paths.

It runs as UID and GID: whoever root is in a mount with shifted ids, for nobody else can make files there.

An rsync that sends starts its connection itself: it finds this process's standard input and output as descriptors 3 and 4.
"""

import ctypes
import fcntl
import os
import sys
from pathlib import Path

from hutch.helper.confine import STAGE, SYSTEM, WRITERS, enter_stage
from hutch.kernel.syscalls import libc

_SETGID, _SETUID, _MKNOD = 6, 7, 27
_PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _RAISE = 8, 47, 2


def become(uid: int, gid: int, kept: frozenset[int]) -> None:
    """Change the user and keep the capabilities, also over exec."""
    libc("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    low = sum(1 << number for number in kept)
    header = (ctypes.c_uint32 * 2)(0x2008_0522, 0)
    libc("capset", header, (ctypes.c_uint32 * 6)(low, low, low, 0, 0, 0))
    for number in kept:
        libc("prctl", _PR_CAP_AMBIENT, _RAISE, number, 0, 0)


def main(stage: str, trees: str, owner: str, *command: str) -> None:
    mounts = dict(word.split("=") for word in trees.split(","))
    opened: dict[str, Path | int] = {name: fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for name, each in mounts.items()}
    for each in mounts.values():
        os.close(int(each))
    os.dup2(0, 3)
    os.dup2(1, 4)
    enter_stage(Path(stage), opened, WRITERS | {_SETGID, _SETUID, _MKNOD})
    for descriptor in opened.values():
        os.close(int(str(descriptor)))
    if strangers := {path.name for path in Path("/").iterdir()} - {*SYSTEM, STAGE.name, "dev"}:
        raise SystemExit(f"the host's files are still in sight: {', '.join(sorted(strangers))}")
    uid, gid = map(int, owner.split(":"))
    become(uid, gid, WRITERS | {_MKNOD})
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
