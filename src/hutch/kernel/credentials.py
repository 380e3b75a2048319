"""Work done with the filesystem identity of a guest's root and all of the daemon's capabilities.

The host's root has no id in a guest's map: on an overlay of shifted layers it cannot create a file (EOVERFLOW). A thread
whose fsuid and fsgid are the guest's root's can, and what it creates belongs to the guest's root.
"""

import asyncio
import ctypes
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from hutch.errors import Invalid
from hutch.kernel.idmap import IdMap, to_host
from hutch.kernel.namespaces import CLONE_FS
from hutch.kernel.syscalls import libc, set_fs_id

_THREADS, _KEPT = 16, 32
_LINUX_CAPABILITY_VERSION_3, _CAP_SYS_RESOURCE = 0x2008_0522, 1 << 24

Given = ParamSpec("Given")
Result = TypeVar("Result")

_pools: OrderedDict[tuple[int, int], ThreadPoolExecutor] = OrderedDict()
_lock = threading.Lock()


async def as_root_of(
    idmap: Sequence[IdMap], function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs
) -> Result:
    """Run a blocking function in a thread that is, for the filesystem, the root of a guest with this map.

    The thread has a working directory and umask of its own: the umask is 0, so that modes are as given, and a function
    that changes the directory disturbs nobody. It must not block for long without end: 16 run at once for one map.
    """
    return await asyncio.wrap_future(submit(idmap, function, *args, **kwargs))


def submit(
    idmap: Sequence[IdMap], function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs
) -> Future[Result]:
    """The same for callers outside of the event loop."""
    ids = root_of(idmap)
    with _lock:
        if ids not in _pools:
            _pools[ids] = ThreadPoolExecutor(_THREADS, f"as-{ids[0]}", initializer=_become, initargs=ids)
        _pools.move_to_end(ids)
        while len(_pools) > _KEPT:
            _pools.popitem(last=False)[1].shutdown(wait=False)
        return _pools[ids].submit(function, *args, **kwargs)


def forget() -> None:
    """End the threads that have nothing to do: those that come later see the process's mounts of then."""
    with _lock:
        while _pools:
            _pools.popitem()[1].shutdown(wait=False)


def root_of(idmap: Sequence[IdMap]) -> tuple[int, int]:
    """The host's user and group id of the guest's root."""
    uid, gid = to_host(idmap, "u", 0), to_host(idmap, "g", 0)
    if uid is None or gid is None:
        raise Invalid("the id map has no place for the guest's root")
    return uid, gid


def become_root_of(idmap: Sequence[IdMap]) -> None:
    """Make the calling thread, for good, the root of a guest with this map as far as files are concerned."""
    _become(*root_of(idmap))


def _become(uid: int, gid: int) -> None:
    libc("unshare", CLONE_FS, what="unshare of the working directory")
    os.umask(0)
    # Both calls act on this thread alone and report no error: a second call with an impossible id tells the value.
    set_fs_id("setfsgid", gid)
    set_fs_id("setfsuid", uid)
    impossible = 0xFFFF_FFFF
    if (set_fs_id("setfsuid", impossible), set_fs_id("setfsgid", impossible)) != (uid, gid):
        raise PermissionError(f"the filesystem ids cannot be set to {uid}:{gid}")
    _raise_capabilities()


def _raise_capabilities() -> None:
    """Make the permitted capabilities effective again: leaving fsuid 0 took away those for files.

    Not CAP_SYS_RESOURCE: it passes over quotas and reserved blocks, and overlay lends its mounter's to the guest.
    """
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()
    libc("capget", header, sets)
    for word in (0, 3):
        sets[word] = sets[word + 1] & ~(_CAP_SYS_RESOURCE if word == 0 else 0)
    libc("capset", header, sets)
