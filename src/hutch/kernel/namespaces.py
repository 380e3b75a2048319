"""Namespaces as descriptors: of the daemon itself, and user namespaces that stand for an id map."""

import asyncio
import contextlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from hutch.errors import HutchError, Invalid
from hutch.kernel import run
from hutch.kernel.idmap import IdMap, proc_lines
from hutch.kernel.mount import MS_SLAVE, propagation
from hutch.kernel.syscalls import libc

CLONE_FS, CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x200, 0x20000, 0x1000_0000, 0x4000_0000
_KEPT = 64

_users: OrderedDict[tuple[IdMap, ...], int] = OrderedDict()
_making = asyncio.Lock()
_host_mounts: int | None = None


def keep_host_mounts() -> None:
    """Remember the present mount namespace as the host's, before this process enters another."""
    global _host_mounts
    _host_mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def own_mounts() -> None:
    """Give this process a mount namespace of its own that sees the host's mounts come and go, not the other way round.

    Must be called while the process has one thread.
    """
    libc("unshare", CLONE_NEWNS, what="unshare of the mount namespace")
    propagation(Path("/"), MS_SLAVE)


def among_host_mounts(argv: Sequence[str]) -> tuple[list[str], list[int]]:
    """The command, and the descriptors it needs, that runs `argv` in the host's mount namespace.

    For what outlives the daemon: it would otherwise keep the daemon's mounts, guests' roots and pools, alive after it.
    """
    if _host_mounts is None:
        return list(argv), []
    return ["nsenter", f"--mount=/proc/self/fd/{_host_mounts}", "--", *argv], [_host_mounts]


def join_mounts(pid: int) -> None:
    """Enter the mount namespace of another process for good. Must be called while this process has one thread."""
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc("setns", namespace, CLONE_NEWNS, what=f"setns to the mounts of process {pid}")
    finally:
        os.close(namespace)


async def user(idmap: Sequence[IdMap]) -> int | None:
    """A descriptor of a user namespace with this map, the caller's to close; None for the empty map.

    The last maps asked for are kept, so that a start usually makes none.
    """
    if not idmap:
        return None
    key = tuple(idmap)
    async with _making:
        if key not in _users:
            _users[key] = await _make(idmap)
        _users.move_to_end(key)
        while len(_users) > _KEPT:
            os.close(_users.popitem(last=False)[1])
        return os.dup(_users[key])


async def _make(idmap: Sequence[IdMap]) -> int:
    # A namespace needs a process in it until a descriptor of it is open; `read` ends when its input is closed.
    async with run.stream(
        ["unshare", "--user", "sh", "-c", "echo; read -r _ || exit 0"], stdin=asyncio.subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        if not await process.stdout.readline():
            raise HutchError("user namespaces cannot be made on this host: set the sysctl user.max_user_namespaces")
        return await asyncio.to_thread(_give_map, process.pid, idmap)


def _give_map(pid: int, idmap: Sequence[IdMap]) -> int:
    try:
        for kind, name in (("u", "uid_map"), ("g", "gid_map")):
            Path(f"/proc/{pid}/{name}").write_text(proc_lines(idmap, kind))
    except OSError as error:
        raise Invalid(f"the kernel refuses the id map {list(idmap)}: {error.strerror}") from error
    return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def forget_users() -> None:
    """Close the kept namespaces, at the end of the daemon."""
    while _users:
        with contextlib.suppress(OSError):
            os.close(_users.popitem()[1])
