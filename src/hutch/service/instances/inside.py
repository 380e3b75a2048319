"""The root of an instance, to work on its files as its own root would.

A running guest's root is /proc/INIT/root, so that its own mounts are seen; a stopped one's volume is mounted for the
while, with ids as stored, under the instance's lock. All work on files happens in a Worker that is the guest's root.
"""

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from hutch.errors import AlreadyExists, Conflict, Forbidden, HutchError, Invalid, NotFound, Unavailable
from hutch.kernel import idmap as ids
from hutch.kernel import pidfd, safepath
from hutch.kernel.idmap import IdMap
from hutch.kernel.worker import Worker
from hutch.runtime.base import Running
from hutch.service.instances import volume
from hutch.service.parts import Parts, instance_lock

Given = ParamSpec("Given")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Root:
    """A guest's root folder, the map that its files' owners are seen through, and the thread that may go in."""

    fd: int
    idmap: Sequence[IdMap]
    worker: Worker

    async def do(
        self,
        function: "Callable[Concatenate[Root, str, Given], Result]",
        path: str,
        *args: Given.args,
        **kwargs: Given.kwargs,
    ) -> Result:
        with translated(path):
            return await self.worker.call(function, self, path, *args, **kwargs)

    def host_ids(self, uid: int | None, gid: int | None) -> tuple[int, int]:
        """The host's user and group for chown, -1 for those to be left. Invalid when the guest has no such ids."""
        return self._host("u", uid), self._host("g", gid)

    def _is_foreign(self, found: os.stat_result) -> bool:
        """Whether the guest's root has no power over a file: its owner is nobody in the guest, as on a shared folder."""
        owners = (("u", found.st_uid), ("g", found.st_gid))
        return not all(ids.has_host(self.idmap, kind, owner) for kind, owner in owners)

    def _host(self, kind: str, inside: int | None) -> int:
        if inside is None:
            return -1
        outside = ids.to_host(self.idmap, kind, inside) if 0 <= inside < 0xFFFF_FFFF else None
        if outside is None:
            raise Invalid(f"the instance has no {'user' if kind == 'u' else 'group'} {inside}")
        return outside

    def check_readable(self, fd: int, path: str) -> None:
        """The daemon may read more than the guest's root: what is not the guest's must be for everybody."""
        found = os.fstat(fd)
        is_hosts = self._is_foreign(found) or (not self.idmap and bool(safepath.pseudo(fd)))
        if is_hosts and not found.st_mode & stat.S_IROTH:
            raise Forbidden(f"{path} is not the instance's to read")

    def check_writable(self, fd: int, path: str) -> None:
        """The daemon may write more, and can do to the kernel's own files what the guest's root cannot."""
        found = os.fstat(fd)
        if safepath.pseudo(fd):
            raise Forbidden(f"{path} is the kernel's: use exec to change it from inside")
        if self._is_foreign(found) and not found.st_mode & stat.S_IWOTH:
            raise Forbidden(f"{path} is not the instance's to change")


@asynccontextmanager
async def root(parts: Parts, project: str, name: str) -> AsyncIterator[Root]:
    """The root of an instance for the time of one request; a stopped instance cannot be started meanwhile."""
    parts.state.instances.get(project, name)
    async with AsyncExitStack() as stack:
        running = parts.runtime.running(project, name)
        if running is None:
            await stack.enter_async_context(parts.locks.hold(instance_lock(project, name)))
            running = parts.runtime.running(project, name)
        if running is not None:
            fd, idmap = await asyncio.to_thread(_enter, running)
            worker = Worker(f"files of {name}", idmap)
            stack.callback(worker.finish)
            stack.callback(worker.later, partial(os.close, fd))
        else:
            record = parts.state.instances.get(project, name)
            fd, idmap = await volume.pool_of(parts, record).mount(volume.of(record), []), []
            worker = Worker(f"files of {name}")
            # The mount must be gone before the lock is given back, or a start would meet it.
            stack.push_async_callback(_unmount, worker, fd)
        yield Root(fd, idmap, worker)


def _enter(running: Running) -> tuple[int, list[IdMap]]:
    try:
        idmap = ids.of_process(running.init)
        fd = os.open(f"/proc/{running.init}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable("the instance is just stopping: try again") from error
    if pidfd.start_time(running.init) != running.started:
        os.close(fd)
        raise Unavailable("the instance is just stopping: try again")
    return fd, idmap


async def _unmount(worker: Worker, fd: int) -> None:
    closing = asyncio.ensure_future(worker.call(os.close, fd))
    # Not before: the call is only queued when the loop comes to it.
    closing.add_done_callback(lambda _: worker.finish())
    await asyncio.shield(closing)


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """An OSError about the guest's file as the error that a client understands."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOENT:
                raise NotFound("Not Found") from error
            case errno.EEXIST:
                raise AlreadyExists(f"{path} exists already") from error
            case errno.ENOTEMPTY | errno.EBUSY | errno.ETXTBSY | errno.EAGAIN:
                raise Conflict(f"{path}: {error.strerror}") from error
            case (
                errno.EISDIR
                | errno.ENOTDIR
                | errno.ELOOP
                | errno.ENAMETOOLONG
                | errno.EINVAL
                | errno.EROFS
                | errno.ENXIO
            ):
                raise Invalid(f"{path}: {error.strerror}") from error
            case errno.EACCES | errno.EPERM:
                raise Forbidden(f"{path}: {error.strerror}") from error
        raise HutchError(f"{path}: {error.strerror}") from error
