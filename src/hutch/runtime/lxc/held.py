"""Guests that wait for a word between being saved here and running elsewhere, each held by a CRIU (hold.py)."""

import asyncio
import contextlib
import os
import shlex
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from hutch.errors import HutchError, ToolFailed
from hutch.helper.criu_front import save_groups, set_groups, watch_pressure
from hutch.kernel import pidfd, run
from hutch.kernel.cgroup import Group
from hutch.runtime.base import Held
from hutch.runtime.lxc import criu, find, terminals
from hutch.runtime.lxc.guest import Guest, clear
from hutch.runtime.lxc.hold import ABORT, COMMIT, DUMPED, RESTORED, WAIT, Hold
from hutch.runtime.lxc.terminals import Terminal
from hutch.runtime.plan import LaunchPlan

_FOLDER = "hold"
_END_DEADLINE, _KILL_GRACE = 30.0, 5.0
_NOTED = ["sh", "-c", 'echo $$ >"$0" && exec "$@"']
"""Runs a command with its pid written to a file first."""

Keep = Callable[[Path, find.Seen | None], None]
"""Told once what became of a held start: the guest that runs now, or None."""
Restore = Callable[[LaunchPlan, Path, Sequence[str]], Awaitable[None]]


async def dump(guest: Guest, images: Path) -> Held:
    """Dump the guest and hold it there. Raises ToolFailed; the guest goes on then."""
    hold, init = Hold(guest.directory / _FOLDER), guest.running.init
    file, word = await asyncio.to_thread(guest.group.thawing)
    await asyncio.to_thread(hold.make, DUMPED, f"echo {word} >{shlex.quote(str(file))}")
    argv = await asyncio.to_thread(criu.dumping, init, guest.group, images, hold.option)
    open_terminals = await asyncio.to_thread(terminals.of, guest.group.processes())
    nothing = asyncio.subprocess.DEVNULL
    process = await run.start([*_NOTED, hold.pid_file, *argv], stdout=nothing, stderr=nothing)
    found = _Saved(guest, images, hold, process, open_terminals)
    try:
        await found.reach()
    except BaseException:
        await asyncio.shield(asyncio.ensure_future(found.abort()))
        raise
    return found


class _Saved(Held):
    def __init__(
        self,
        guest: Guest,
        images: Path,
        hold: Hold,
        process: asyncio.subprocess.Process,
        open_terminals: Sequence[Terminal],
    ) -> None:
        self._guest, self._images, self._hold, self._terminals = guest, images, hold, open_terminals
        self._init = guest.running.init
        self._process = asyncio.ensure_future(process.wait())

    async def reach(self) -> None:
        reached = asyncio.ensure_future(self._hold.reached())
        try:
            await asyncio.wait({reached, self._process}, timeout=criu.DEADLINE, return_when=asyncio.FIRST_COMPLETED)
            if not reached.done():
                code = self._process.result() if self._process.done() else -1
                why = "" if self._process.done() else f"no end after {criu.DEADLINE:.0f} seconds"
                raise await criu.dump_failed(self._init, self._images, ToolFailed(["criu dump"], code, why))
        finally:
            reached.cancel()
        unified = criu.unified(self._guest.group)
        await asyncio.to_thread(save_groups, str(unified), str(self._images / criu.GROUPS))
        began, frozen = await asyncio.to_thread(
            lambda: [self._hold.when(each) for each in ("pre-dump", "network-lock")]
        )
        self.times = {"freeze": frozen - began, "dump": time.time() - frozen}
        # CRIU has not undone yet what it did to their system calls: if it is killed none of them may run.
        await asyncio.to_thread(self._guest.group.freeze)
        # Now, that no program that goes on after all sees what CRIU did to them.
        await asyncio.to_thread(terminals.block_again, self._terminals)

    async def lost(self) -> str:
        code = await asyncio.shield(self._process)
        return f"CRIU ended by itself with status {code}"

    async def stand(self) -> None:
        await asyncio.to_thread(self._hold.stand, COMMIT)

    async def commit(self) -> None:
        self._hold.answer(COMMIT)
        gone = asyncio.ensure_future(pidfd.wait(self._init))
        try:
            done = {gone, self._process}
            await asyncio.wait(done, timeout=_END_DEADLINE, return_when=asyncio.FIRST_COMPLETED)
            # A CRIU that was killed has let the guest go, with its network still locked.
            self._guest.send(signal.SIGKILL)
            await gone
        finally:
            gone.cancel()

    async def settle(self) -> None:
        await self._guest.kill()
        self._hold.close()

    async def abort(self) -> None:
        by_itself = self._process.done()
        self._hold.answer(ABORT)
        try:
            await self._hold.ended(_END_DEADLINE)
        except HutchError:
            await asyncio.to_thread(self._hold.kill)
            by_itself = True
        if by_itself and await asyncio.to_thread(self._guest.group.frozen):
            await self._guest.kill()
        else:
            with contextlib.suppress(HutchError, OSError):
                await criu.unlock(self._init)
        await asyncio.to_thread(terminals.block_again, self._terminals)
        await asyncio.to_thread(self._hold.remove)


async def settle(directory: Path, guest: Guest | None) -> bool:
    """See an earlier daemon's dump of the guest through: whether it stood that it ends. It is gone also when CRIU was killed."""
    hold = Hold(directory / _FOLDER)
    commits = await asyncio.to_thread(lambda: hold.standing == COMMIT)
    await asyncio.to_thread(hold.listen_again)
    hold.answer(COMMIT if commits else ABORT)
    await hold.ended()
    if guest is not None:
        if commits or await asyncio.to_thread(guest.group.frozen):
            await guest.kill()
        else:
            guest.set_frozen(False)
            with contextlib.suppress(HutchError, OSError):
                await criu.unlock(guest.running.init)
    hold.close()
    return commits


def forget(directory: Path) -> None:
    """Blocks."""
    Hold(directory / _FOLDER).remove()


async def restore(plan: LaunchPlan, groups: Sequence[Group], restore: Restore, keep: Keep) -> Held:
    """Bring the guest back and hold it there, its limits set. Raises ToolFailed; nothing of it is left then."""
    assert plan.images is not None
    hold = Hold(plan.directory / _FOLDER)
    await asyncio.to_thread(hold.make, RESTORED)
    program = asyncio.ensure_future(restore(plan, plan.images, hold.option))
    found = _Restored(plan.directory, groups, hold, keep, program)
    try:
        await found.reach(plan)
    except BaseException:
        await asyncio.shield(asyncio.ensure_future(found.abort()))
        raise
    return found


def found(directory: Path, groups: Sequence[Group], keep: Keep) -> Held:
    """What an earlier daemon's restore left."""
    hold = Hold(directory / _FOLDER)
    hold.listen_again()
    return _Restored(directory, groups, hold, keep, None)


class _Restored(Held):
    def __init__(
        self,
        directory: Path,
        groups: Sequence[Group],
        hold: Hold,
        keep: Keep,
        program: "asyncio.Future[None] | None",
    ) -> None:
        self._directory, self._groups, self._hold, self._keep = directory, groups, hold, keep
        self._program = program

    async def reach(self, plan: LaunchPlan) -> None:
        assert self._program is not None
        reached = asyncio.ensure_future(self._hold.reached())
        try:
            await asyncio.wait({reached, self._program}, return_when=asyncio.FIRST_COMPLETED)
            if not reached.done():
                self._program.result()
                raise ToolFailed(["criu restore"], 0, "CRIU went on by itself")
        finally:
            reached.cancel()
        unified = str(criu.unified(self._groups[0]))
        assert plan.images is not None
        await asyncio.to_thread(set_groups, unified, str(plan.images / criu.GROUPS))
        await asyncio.to_thread(self._groups[0].write, plan.limits)
        await asyncio.to_thread(watch_pressure, unified)

    async def lost(self) -> str:
        if self._program is None:
            await self._hold.ended(None)
            return "CRIU ended by itself"
        try:
            await asyncio.shield(self._program)
        except HutchError as error:
            return str(error)
        return "CRIU went on by itself"

    async def stand(self) -> None:
        await asyncio.to_thread(self._hold.stand, WAIT)

    async def commit(self) -> None:
        self._hold.answer(COMMIT)
        ended = asyncio.ensure_future(self.lost())
        resumed = asyncio.ensure_future(self._hold.reached())
        try:
            await asyncio.wait({ended, resumed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            resumed.cancel()
            ended.cancel()
        if not await asyncio.to_thread(self._hold.is_resumed):
            await self.abort()
            raise ToolFailed(["criu restore"], 0, ended.result() if ended.done() else "it ended before the guest ran")

    async def settle(self) -> None:
        if self._program is None:
            await self._hold.ended()
        else:
            await asyncio.shield(self._program)
        self._keep(self._directory, await asyncio.to_thread(find.started, self._directory, self._groups[0]))
        self._hold.close()

    async def abort(self) -> None:
        self._hold.answer(ABORT)
        if self._program is not None:
            with contextlib.suppress(HutchError, OSError):
                async with asyncio.timeout(_END_DEADLINE):
                    await asyncio.shield(self._program)
        with contextlib.suppress(HutchError):
            await self._hold.ended(_END_DEADLINE)
        await asyncio.to_thread(self._remove)
        self._keep(self._directory, None)

    def _remove(self) -> None:
        """A CRIU that was killed leaves half a guest, which nothing else would end."""
        for _ in range(int(_KILL_GRACE / 0.05)):
            left = {pid for group in self._groups for pid in group.processes()}
            if not left:
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        find.end_monitor(self._directory)
        clear(self._directory, self._groups)
        self._hold.remove()
