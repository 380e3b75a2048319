"""Guests by liblxc's own programs: `lxc-start` boots one and stays as its monitor, a C program of some 400 KiB.

Everything after the start goes past liblxc: signals by pidfd, freezing and limits by control group files. The monitor outlives the
daemon; `runtime.json` in the instance's directory is written before lxc-start runs and says how to find it again.
"""

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

from hutch.errors import Conflict, HutchError, NotFound, ToolFailed
from hutch.kernel import cgroup, run, statistics
from hutch.runtime.base import Ended, Held, Obstacle, Running, Runtime, Usage
from hutch.runtime.enter import Door, Errand, Session
from hutch.runtime.lxc import config, criu, find, held, locks, obstacles, record, seccomp, signals, standstill
from hutch.runtime.lxc import log as lxc_log
from hutch.runtime.lxc.guest import Guest, clear
from hutch.runtime.plan import LaunchPlan

log = logging.getLogger(__name__)

START_DEADLINE = 60.0


class Driver(Runtime):
    """`identity` (8 hex digits) keeps the control groups of daemons on one host apart; `lxcfs` is its mount, if there is one.

    Making one reads a few files.
    """

    def __init__(self, identity: str, ended: Ended, lxcfs: Path | None = None) -> None:
        self.prefix = f"hutch-{identity}"
        self.ended = ended
        self.lxcfs = lxcfs
        self.layout = cgroup.layout()
        self._guests: dict[tuple[str, str], Guest] = {}
        self._starting: set[tuple[str, str]] = set()
        self._prepared = False
        self._folders: set[Path] = set()
        self._door = Door()
        self._program = shutil.which("lxc-start", path=run.ENVIRONMENT["PATH"]) or "lxc-start"
        self._path = _path_without_newuidmap()

    async def start(self, plan: LaunchPlan) -> Running:
        key = plan.project, plan.name
        if key in self._guests or key in self._starting:
            raise Conflict(f"the instance {plan.name} is running already")
        self._starting.add(key)
        try:
            # Shielded: a half-started guest must be seen through to be ended.
            task = asyncio.ensure_future(self._start(plan))
            try:
                guest = await asyncio.shield(task)
            except asyncio.CancelledError:
                with contextlib.suppress(HutchError, OSError):
                    await (await task).kill()
                raise
        finally:
            self._starting.discard(key)
        return guest.running

    async def _start(self, plan: LaunchPlan) -> Guest:
        groups = self._groups(plan.project, plan.name)
        await asyncio.to_thread(self._prepare, plan, *groups)
        try:
            await (self._lxc_start(plan) if plan.images is None else self._lxc_restore(plan, plan.images))
            seen = await asyncio.to_thread(find.started, plan.directory, groups[0])
            if late := groups[0].only_unified(plan.limits):
                await asyncio.to_thread(groups[0].write, late)
        except (HutchError, OSError):
            await asyncio.to_thread(find.end_monitor, plan.directory)
            await asyncio.to_thread(clear, plan.directory, groups)
            raise
        return self._keep(plan.project, plan.name, plan.directory, seen)

    def _prepare(self, plan: LaunchPlan, group: cgroup.Group, monitor: cgroup.Group) -> None:
        if not self._prepared:
            group.prepare_parent()
            self._prepared = True
        for old in (group, monitor):
            if old.exists():
                old.remove()
        settings = group.settings(plan.limits)
        group.check(settings)
        legacy = frozenset(self.layout.legacy)
        plan.directory.mkdir(parents=True, exist_ok=True)
        names = (group.path, monitor.path, self._pivot().path)
        text = config.text(plan, config.Host(*names, settings, legacy, self.lxcfs, seccomp.write(plan)))
        (plan.directory / config.CONFIG).write_text(text)
        with contextlib.suppress(FileNotFoundError):
            (plan.directory / config.LOG).replace(plan.directory / f"{config.LOG}.old")
        (plan.directory / config.ENDED).write_text(" " * 8 + "\n")
        (plan.directory / config.MONITOR_PID).unlink(missing_ok=True)
        record.write(plan.directory, record.Record(record.boot_id()))

    async def _lxc_start(self, plan: LaunchPlan) -> None:
        which = ["-P", str(plan.directory.parent), "-n", plan.directory.name]
        argv = [self._program, *which, "-d", "-p", str(plan.directory / config.MONITOR_PID), *_logging(plan)]
        try:
            await run.run(argv, deadline=START_DEADLINE, env={"PATH": self._path})
        except ToolFailed as error:
            reason = await asyncio.to_thread(lxc_log.reason, plan.directory / config.LOG)
            raise ToolFailed(argv, error.code, reason or error.stderr) from error

    async def _lxc_restore(self, plan: LaunchPlan, images: Path, hook: Sequence[str] = ()) -> None:
        group = self._groups(plan.project, plan.name)[0]
        environment = await asyncio.to_thread(criu.restoring, plan, images, group, hook)
        which = ["-P", str(plan.directory.parent), "-n", plan.directory.name]
        argv = ["lxc-checkpoint", *which, "-d", "-r", "-D", str(images), *_logging(plan)]
        try:
            await criu.run_detached(argv, environment)
        except ToolFailed as error:
            reason = await asyncio.to_thread(criu.reason, images / "restore.log")
            reason = reason or await asyncio.to_thread(lxc_log.reason, plan.directory / config.LOG)
            raise ToolFailed(["criu restore"], error.code, reason or error.stderr) from error

    def obstacles(self, project: str, name: str) -> list[Obstacle]:
        guest = self._guest(project, name)
        criu.program()
        return obstacles.found(guest.group, guest.running.init)

    async def save(self, project: str, name: str, images: Path) -> None:
        guest = self._guest(project, name)

        async def see_through() -> None:
            await criu.dump(guest.running.init, guest.group, images)
            await guest.kill()

        # Shielded: a CRIU that is ended half-way leaves the guest without its network.
        await asyncio.shield(asyncio.ensure_future(see_through()))

    async def state_version(self) -> str:
        return await criu.version()

    @property
    def offers_lxcfs(self) -> bool:
        return self.lxcfs is not None

    async def hold(self, project: str, name: str, images: Path) -> Held:
        return await held.dump(self._guest(project, name), images)

    async def start_held(self, plan: LaunchPlan) -> Held:
        key = plan.project, plan.name
        if key in self._guests or key in self._starting:
            raise Conflict(f"the instance {plan.name} is running already")
        self._starting.add(key)
        try:
            groups = self._groups(*key)
            await asyncio.to_thread(self._prepare, plan, *groups)
            return await held.restore(plan, groups, self._lxc_restore, self._keeper(*key))
        except BaseException:
            self._starting.discard(key)
            raise

    async def held_start(self, project: str, name: str, directory: Path) -> Held:
        return held.found(directory, self._groups(project, name), self._keeper(project, name))

    def _keeper(self, project: str, name: str) -> held.Keep:
        """Takes a restored guest over when it runs, or hears that it will not."""

        def keep(directory: Path, seen: find.Seen | None) -> None:
            self._starting.discard((project, name))
            if seen is not None:
                self._keep(project, name, directory, seen)

        return keep

    async def forget_hold(self, directory: Path) -> None:
        await asyncio.to_thread(held.forget, directory)

    async def settle_hold(self, project: str, name: str, directory: Path) -> bool:
        return await held.settle(directory, self._guests.get((project, name)))

    def saved(self, images: Path) -> bool:
        return (images / criu.GROUPS).exists()

    async def standstill(self, project: str, name: str, during: Awaitable[None]) -> float:
        return await standstill.measured(self._guest(project, name).running.init, during)

    def void(self, images: Path) -> None:
        (images / criu.GROUPS).unlink(missing_ok=True)

    def _keep(self, project: str, name: str, directory: Path, seen: find.Seen) -> Guest:
        groups = self._groups(project, name)
        self._folders.add(directory.parent)
        guest = self._guests[project, name] = Guest(project, name, directory, groups, seen, self._over)
        return guest

    async def _over(self, guest: Guest, target: str) -> None:
        self._guests.pop((guest.project, guest.name), None)
        log.info("instance %s of project %s ended: %s", guest.name, guest.project, target)
        self.ended(guest.project, guest.name, target)

    async def adopt(self, project: str, name: str, directory: Path) -> Running | str | None:
        if guest := self._guests.get((project, name)):
            return guest.running
        found = await asyncio.to_thread(find.again, directory)
        if found is None:
            return None
        if found.init:
            seen = await asyncio.to_thread(find.look, self._groups(project, name)[0], found)
            return self._keep(project, name, directory, seen).running
        return await asyncio.to_thread(clear, directory, self._groups(project, name))

    def running(self, project: str, name: str) -> Running | None:
        guest = self._guests.get((project, name))
        return guest.running if guest else None

    async def shutdown(self, project: str, name: str) -> None:
        await self._guest(project, name).ask(signals.poweroff)

    async def reboot(self, project: str, name: str) -> None:
        await self._guest(project, name).ask(signals.reboot)

    async def kill(self, project: str, name: str) -> None:
        if guest := self._guests.get((project, name)):
            await guest.kill()

    async def wait(self, project: str, name: str, timeout: float | None) -> bool:
        guest = self._guests.get((project, name))
        if guest is None:
            return True
        try:
            async with asyncio.timeout(timeout):
                await guest.gone.wait()
        except TimeoutError:
            return False
        return True

    async def freeze(self, project: str, name: str) -> None:
        guest = self._guest(project, name)
        await asyncio.to_thread(guest.group.freeze)
        guest.set_frozen(True)

    async def unfreeze(self, project: str, name: str) -> None:
        guest = self._guest(project, name)
        await asyncio.to_thread(guest.group.thaw)
        guest.set_frozen(False)

    def usage(self, project: str, name: str) -> Usage:
        return Usage(**self._guest(project, name).group.usage())

    def statistics(self, project: str, name: str) -> statistics.Statistics:
        return statistics.of(self._guest(project, name).group)

    async def set_limits(self, project: str, name: str, limits: Mapping[str, str]) -> None:
        await asyncio.to_thread(self._guest(project, name).group.write, limits)

    async def execute(
        self,
        project: str,
        name: str,
        errand: Errand,
        *,
        stdio: Sequence[int] | None = None,
        size: tuple[int, int] = (0, 0),
    ) -> Session:
        guest = self._guest(project, name)
        if guest.init is None:
            raise NotFound(f"the instance {name} is not running")
        if guest.running.frozen:
            raise Conflict(f"the instance {name} is frozen: a command would not run before it is unfrozen")
        about = {
            "init": guest.running.init,
            "started": guest.running.started,
            "groups": guest.folders,
            "profile": str(await asyncio.to_thread(seccomp.used, guest.directory)),
        }
        return await self._door.enter(errand, about, guest.init, stdio=stdio, size=size)

    async def close(self) -> None:
        for guest in self._guests.values():
            guest.release()
        self._guests.clear()
        await self._door.close()
        await asyncio.to_thread(self._tidy)

    def _tidy(self) -> None:
        self._pivot().remove()
        cgroup.Group(self.layout, f"{self.prefix}/monitor/none").remove_parents()
        for folder in self._folders:
            locks.remove_folders(folder)

    def _guest(self, project: str, name: str) -> Guest:
        try:
            return self._guests[project, name]
        except KeyError:
            raise NotFound(f"the instance {name} is not running") from None

    def _pivot(self) -> cgroup.Group:
        """Where monitors go in their last moment."""
        return cgroup.Group(self.layout, f"{self.prefix}/pivot")

    def _groups(self, project: str, name: str) -> tuple[cgroup.Group, cgroup.Group]:
        """The guest's and its monitor's."""
        own = f"{project}_{name}"
        return cgroup.Group(self.layout, f"{self.prefix}/{own}"), cgroup.Group(
            self.layout, f"{self.prefix}/monitor/{own}"
        )


def _logging(plan: LaunchPlan) -> list[str]:
    """liblxc 6 heeds this alone, not lxc.log.file of the configuration."""
    return ["-o", str(plan.directory / config.LOG), "-l", "INFO"]


def _path_without_newuidmap() -> str:
    """Where liblxc finds apparmor_parser but not newuidmap: it then writes the id map itself, which newuidmap would refuse."""
    folders = run.ENVIRONMENT["PATH"].split(":")
    return ":".join(folder for folder in folders if not os.access(f"{folder}/newuidmap", os.X_OK)) or "/nonexistent"
