"""Becomes a program that sees the system's programs, one archive and one tree to write, and nothing else.

`python -m hutch.helper.confine FILE DIR PROGRAM ARGUMENT...` runs PROGRAM with new mount, pid, network, IPC and UTS
namespaces, a root that holds /usr (read-only), FILE as ARCHIVE (read-only) and STAGE, a small memory filesystem whose
`rootfs` is DIR ("-": an empty directory), and only the capabilities that writing foreign files needs. What unpacks an
untrusted image may thus be taken over by it and still cannot read or write the host or make a device node.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from hutch.kernel import mount
from hutch.kernel.syscalls import libc

ARCHIVE, STAGE = Path("/archive"), Path("/stage")
STAGE_SIZE = 64 << 20
"""Bytes that may land beside the tree: metadata and templates."""
_NAMESPACES = 0x0002_0000 | 0x0400_0000 | 0x0800_0000 | 0x2000_0000 | 0x4000_0000  # mount, UTS, IPC, pid, network
SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SAFE = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV
WRITERS = frozenset({0, 1, 2, 3, 4, 31})
"""CAP_CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SETFCAP: what keeps owners, modes and file capabilities."""
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_CAPABILITY_VERSION_3 = 0x2008_0522


def enter(archive: Path, tree: Path | None, capabilities: frozenset[int] = WRITERS) -> None:
    """Go into the confinement. Returns in a child process; the caller's process waits for it and ends as it does.

    Both, and with the child all that it starts, end with the daemon.
    """
    _enter(capabilities, archive, None, {} if tree is None else {"rootfs": tree})


def enter_stage(stage: Path, trees: Mapping[str, Path | int], capabilities: frozenset[int]) -> None:
    """The same without an archive: STAGE is the folder `stage`, with a tree, or a detached mount, on each named folder in it."""
    _enter(capabilities, None, stage, trees)


def _enter(
    capabilities: frozenset[int], archive: Path | None, stage: Path | None, trees: Mapping[str, Path | int]
) -> None:
    libc("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc("unshare", _NAMESPACES)
    child = os.fork()
    if child:
        os._exit(_outcome(child))
    libc("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _change_root(archive, stage, trees)
    _drop(capabilities)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _outcome(child: int) -> int:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def _change_root(archive: Path | None, stage: Path | None, trees: Mapping[str, Path | int]) -> None:
    mount.setattr(Path("/"), propagation=mount.MS_PRIVATE, recursive=True)
    # All are opened before anything covers them: they may lie below /tmp.
    shown = None if archive is None else mount.idmapped(archive, None, attributes=_SAFE | mount.MOUNT_ATTR_RDONLY)
    held = None if stage is None else _closed(stage)
    null = None if stage is None else mount.open_tree(Path(os.devnull))
    targets = {name: _closed(tree) for name, tree in trees.items()}
    root = Path("/tmp")  # a directory that always exists; only this mount namespace sees what covers it
    mount.attach(mount.new("tmpfs", options=[("size", str(STAGE_SIZE)), ("mode", "0755")], attributes=_SAFE), root)
    for name in SYSTEM:
        show(Path("/", name), root / name)
    if shown is not None:
        (root / ARCHIVE.name).touch()
        mount.attach(shown, root / ARCHIVE.name)
    (root / STAGE.name).mkdir()
    if held is not None and null is not None:
        mount.attach(held, root / STAGE.name)
        (root / "dev").mkdir()
        (root / os.devnull[1:]).touch()
        mount.attach(null, root / os.devnull[1:])
    else:
        (root / STAGE.name / "rootfs").mkdir()
    for name, target in targets.items():
        (root / STAGE.name / name).mkdir(exist_ok=True)
        mount.attach(target, root / STAGE.name / name)
    os.chdir(root)
    libc("pivot_root", b".", b".")
    libc("umount2", b".", mount.MNT_DETACH)
    os.chdir("/")


def _closed(tree: Path | int) -> int:
    """A mount of the tree, or the detached one given, on which nothing is a device or a program."""
    attributes = _SAFE | mount.MOUNT_ATTR_NOEXEC
    if isinstance(tree, Path):
        return mount.idmapped(tree, None, attributes=attributes)
    mount.setattr(tree, set=attributes)
    return tree


def show(source: Path, target: Path) -> None:
    """A folder of the host's programs, or the link that stands for it, also at `target`, read-only."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir()
        mount.bind(source, target, recursive=True, attributes=_SAFE | mount.MOUNT_ATTR_RDONLY)


def _drop(kept: frozenset[int]) -> None:
    for number in set(range(_last_capability() + 1)) - kept:
        libc("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)
    libc("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    low, high = (sum(1 << n - base for n in kept if base <= n < base + 32) for base in (0, 32))
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    libc("capset", header, sets)


def _last_capability() -> int:
    for number in range(64):
        if ctypes.CDLL(None).prctl(23, number, 0, 0, 0) < 0:  # PR_CAPBSET_READ knows every capability of this kernel
            return number - 1
    return 63


def main(archive: str, tree: str, *command: str) -> None:
    enter(Path(archive), None if tree == "-" else Path(tree))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
