"""Becomes a program that walks trees, with those trees in sight and nothing else of the host's.

`python -m hutch.helper.alone NAME=FD... -- PROGRAM ARGUMENT...` runs PROGRAM in a mount namespace of its own whose root
holds the system's programs, read-only, and the detached mounts behind the descriptors at /NAME; it works in the first.
A program that is led astray, by a link or by what it takes for its folder, finds nothing there that it could harm.
"""

import os
import signal
import sys
from pathlib import Path

from hutch.helper import confine
from hutch.kernel import mount
from hutch.kernel.syscalls import libc

FAILED = 125
"""The status when the program was not even started."""
_PR_SET_PDEATHSIG, _CLONE_NEWNS = 1, 0x0002_0000
_SAFE = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV


def enter(trees: dict[str, int]) -> None:
    """Leave the host's files behind. Ends with the daemon, as all that the program starts does not."""
    libc("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc("unshare", _CLONE_NEWNS)
    mount.setattr(Path("/"), propagation=mount.MS_PRIVATE, recursive=True)
    root = Path("/tmp")  # a directory that always exists; only this mount namespace sees what covers it
    mount.attach(mount.new("tmpfs", options=[("size", "1M"), ("mode", "0755")], attributes=_SAFE), root)
    for name in confine.SYSTEM:
        confine.show(Path("/", name), root / name)
    for name, descriptor in trees.items():  # A tree may lie in one before it.
        (root / name).mkdir(parents=True, exist_ok=True)
        mount.attach(descriptor, root / name)
        os.close(descriptor)
    os.chdir(root)
    libc("pivot_root", b".", b".")
    libc("umount2", b".", mount.MNT_DETACH)
    os.chdir("/")
    _check(trees)


def _check(trees: dict[str, int]) -> None:
    """Nothing is here but what was put here, and every tree of the root is a mount of its own."""
    tops = {Path(name).parts[0] for name in trees}
    if strangers := {path.name for path in Path("/").iterdir()} - set(confine.SYSTEM) - tops:
        raise SystemExit(f"the host's files are still in sight: {', '.join(sorted(strangers))}")
    if plain := [name for name in sorted(tops & set(trees)) if not Path("/", name).is_mount()]:
        raise SystemExit(f"/{plain[0]} is no mount")


def main(*words: str) -> None:
    end = words.index("--")
    trees = {name: int(descriptor) for name, _, descriptor in (word.partition("=") for word in words[:end])}
    try:
        enter(trees)
        os.chdir(f"/{next(iter(trees))}")
    except (OSError, SystemExit) as error:
        print(f"alone: {error}", file=sys.stderr)
        sys.exit(FAILED)
    os.execv(words[end + 1], words[end + 1 :])


if __name__ == "__main__":
    main(*sys.argv[1:])
