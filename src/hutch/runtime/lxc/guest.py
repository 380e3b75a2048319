"""One running guest: its two processes by descriptor, its control group, and its end."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hutch.kernel import pidfd
from hutch.kernel.cgroup import Group
from hutch.runtime.lxc import find, locks, record
from hutch.runtime.lxc.config import ENDED

_MONITOR_GRACE = 10.0
_DEAF, _PAUSE = 2.0, 0.1


class Guest:
    """`groups` are the guest's own and its monitor's.

    `gone` is set, and `over` called once, when init and monitor have both ended and what they left is cleared away.
    """

    def __init__(
        self,
        project: str,
        name: str,
        directory: Path,
        groups: Sequence[Group],
        seen: find.Seen,
        over: Callable[["Guest", str], Awaitable[None]],
    ) -> None:
        self.project, self.name, self.directory = project, name, directory
        self.group, self._groups = groups[0], groups
        self.running, self.folders = seen.running, seen.folders
        self.gone = asyncio.Event()
        self._over = over
        self.init = pidfd.open_pid(seen.running.init)
        self._ending: asyncio.Future[None] | None = None
        self._watch = pidfd.Watch(seen.running.monitor, self._monitor_ended)

    def send(self, number: int) -> bool:
        """Signal the init; false when it has ended."""
        return self.init is not None and pidfd.send(self.init, number)

    async def ask(self, kind: Callable[[int], tuple[int, bool]]) -> None:
        """Send init the signal that `kind` chooses, again as long as it seems not to listen, for the first would be lost.

        An init that waits for signals in sigtimedwait, as busybox's does, never seems to listen.
        """
        end = asyncio.get_running_loop().time() + _DEAF
        while True:
            number, heard = await asyncio.to_thread(kind, self.running.init)
            if not self.send(number) or heard or asyncio.get_running_loop().time() > end:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE):
                    await self.gone.wait()

    def set_frozen(self, frozen: bool) -> None:
        self.running = replace(self.running, frozen=frozen)

    async def kill(self) -> None:
        """SIGKILL to init, which takes every process of the guest along; returns when the guest is gone."""
        self.send(signal.SIGKILL)
        if self.running.frozen:
            with contextlib.suppress(Exception):
                await asyncio.to_thread(self.group.thaw)
        try:
            async with asyncio.timeout(_MONITOR_GRACE):
                await self.gone.wait()
        except TimeoutError:
            await self._kill_monitor()

    async def _kill_monitor(self) -> None:
        await pidfd.wait(self.running.init)
        if self._watch.fd is not None:
            pidfd.send(self._watch.fd, signal.SIGKILL)
        await self.gone.wait()

    def release(self) -> None:
        """Stop watching; the guest goes on."""
        self._watch.close()
        self._close()

    def _close(self) -> None:
        if self.init is not None:
            os.close(self.init)
            self.init = None

    def _monitor_ended(self) -> None:
        self._ending = asyncio.ensure_future(self._end())

    async def _end(self) -> None:
        # Usually dead already. After a crash of the monitor the kernel kills it; if it does not, we do.
        if self.send(signal.SIGKILL):
            await pidfd.wait(self.running.init)
        self._close()
        target = await asyncio.to_thread(clear, self.directory, self._groups)
        await self._over(self, target)
        self.gone.set()


def clear(directory: Path, groups: Iterable[Group]) -> str:
    """Remove what an ended guest may have left; the target that it ended for, `stop` or `reboot`. Blocks."""
    target = "stop"
    with contextlib.suppress(OSError):
        words = (directory / ENDED).read_text().split()
        target = words[0] if words and words[0] == "reboot" else "stop"
    for group in groups:
        if group.exists():
            group.remove()
    locks.remove(directory)
    record.remove(directory)
    (directory / ENDED).unlink(missing_ok=True)
    return target
