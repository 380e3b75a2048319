"""Becomes rsync that sees the system's programs, a staging folder with volumes mounted in it, and nothing else.

`python -m hutch.helper.transfer STAGE TREES PROGRAM ARGUMENT...`: TREES is NAME=DESCRIPTOR[,NAME=DESCRIPTOR], detached
mounts that are put on the folders of those names in STAGE. What rsync writes and deletes is another server's matter: here it
cannot be anything but what it was given, whatever that server sends, and whatever rsync makes of its paths.

An rsync that sends starts its connection itself: it finds this process's standard input and output as descriptors 3 and 4.
"""

import fcntl
import os
import sys
from pathlib import Path

from hutch.helper.confine import STAGE, SYSTEM, WRITERS, enter_stage

_CAP_MKNOD = 27


def main(stage: str, trees: str, *command: str) -> None:
    mounts = dict(word.split("=") for word in trees.split(","))
    opened: dict[str, Path | int] = {name: fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for name, each in mounts.items()}
    for each in mounts.values():
        os.close(int(each))
    os.dup2(0, 3)
    os.dup2(1, 4)
    enter_stage(Path(stage), opened, WRITERS | {_CAP_MKNOD})
    for descriptor in opened.values():
        os.close(int(str(descriptor)))
    if strangers := {path.name for path in Path("/").iterdir()} - {*SYSTEM, STAGE.name, "dev"}:
        raise SystemExit(f"the host's files are still in sight: {', '.join(sorted(strangers))}")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
