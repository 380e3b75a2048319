"""Device files of the host for guests: a node is made on the host and bound into the guest, which may not make one itself."""

import asyncio
import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from hutch.device.base import Device
from hutch.errors import Invalid, NotFound
from hutch.kernel import idmap, mount
from hutch.kernel.run import run
from hutch.runtime.base import Running
from hutch.runtime.plan import DeviceRule, LaunchPlan, Mount
from hutch.schema.keys.base import as_bool
from hutch.schema.keys.devices import UNIX, inside

_HELPER = Path(__file__).parents[1] / "helper" / "mount_into.py"


class NodeDevice(Device):
    """`letter` is c or b, as in the rules of the device control group."""

    keys = UNIX
    letter: ClassVar[str]
    type_bits: ClassVar[int]

    def check(self) -> None:
        if not self.config.get("source") and not self.config.get("path"):
            raise Invalid(
                f'device {self.name!r}: Unix device entry is missing the required "source" or "path" property'
            )
        if bool(self.config.get("major")) != bool(self.config.get("minor")):
            raise Invalid(f"device {self.name!r}: major and minor belong together")

    async def plan(self, plan: LaunchPlan) -> None:
        if not await self._prepare():
            return
        plan.mounts.append(Mount(str(self._point), self._target, options="bind,create=file"))
        plan.device_rules.append(DeviceRule(await asyncio.to_thread(self._rule)))

    async def started(self, running: Running) -> None:
        if self.context.paths is not None and not self._required and not self.config.get("major"):
            self.context.paths.add(self._key, Path(self._source))

    async def follow(self, running: Running) -> None:
        there = await asyncio.to_thread(Path(self._source).exists)
        given = await asyncio.to_thread(self._point.exists)
        if there and not given:
            await self._give(running)
        elif given and not there:
            await run(self._command(running, "remove"))
            await asyncio.to_thread(self._remove)

    async def plug(self, running: Running) -> None:
        await self._give(running)
        await self.started(running)

    async def _give(self, running: Running) -> None:
        if not await self._prepare():
            return
        if not self.context.idmap:
            await self._allow()
        with mount.closing(await asyncio.to_thread(mount.open_tree, self._point)) as tree:
            await run(self._command(running, "attach", str(tree)), pass_fds=[tree])

    async def unplug(self, running: Running) -> None:
        if await asyncio.to_thread(self._point.exists):
            await run(self._command(running, "remove"))
        await self.release()

    async def release(self) -> None:
        if self.context.paths is not None:
            self.context.paths.drop(self._key)
        await asyncio.to_thread(self._remove)

    @property
    def _key(self) -> str:
        return f"{self.context.project}/{self.context.instance}/{self.name}"

    @property
    def _required(self) -> bool:
        return as_bool(self.config.get("required"), True)

    @property
    def _source(self) -> str:
        return self.config.get("source") or self.config["path"]

    @property
    def _target(self) -> str:
        return inside(self.config.get("path") or self.config["source"]).strip("/")

    @property
    def _point(self) -> Path:
        return self.context.directory / "devices" / f"unix.{quote(self.name, safe='')}"

    def _command(self, running: Running, action: str, *more: str) -> list[str]:
        return [sys.executable, "-I", "-S", str(_HELPER), str(running.init), action, self._target, *more]

    async def _prepare(self) -> bool:
        """Make the node; false when what it stands for is absent and need not be there."""
        try:
            await asyncio.to_thread(self._make)
        except NotFound:
            if self._required:
                raise
            return False
        return True

    def _make(self) -> None:
        number = self._number()
        self._remove()
        self._point.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        mode = int(self.config.get("mode") or "0660", 8)
        os.mknod(self._point, self.type_bits | mode, number)
        self._point.chmod(mode)
        owner = [
            idmap.to_host(self.context.idmap, kind, int(self.config.get(key) or 0))
            for kind, key in (("u", "uid"), ("g", "gid"))
        ]
        if None in owner:
            raise Invalid(f"device {self.name!r}: the instance has no such uid or gid")
        os.chown(self._point, owner[0] or 0, owner[1] or 0)

    def _number(self) -> int:
        if self.config.get("major"):
            return os.makedev(int(self.config["major"]), int(self.config["minor"]))
        try:
            found = os.stat(self._source)  # noqa: PTH116
        except FileNotFoundError:
            raise NotFound(f"device {self.name!r}: The required device path {self._source!r} doesn't exist") from None
        if stat.S_IFMT(found.st_mode) != self.type_bits:
            kind = "character" if self.letter == "c" else "block"
            raise Invalid(f"device {self.name!r}: {self._source} is not a {kind} device")
        return found.st_rdev

    def _rule(self) -> str:
        number = os.stat(self._point).st_rdev  # noqa: PTH116
        return f"{self.letter} {os.major(number)}:{os.minor(number)} rwm"

    async def _allow(self) -> None:
        """A privileged guest's device control group lets it in."""
        folder, rule = self.context.directory, await asyncio.to_thread(self._rule)
        await run(["lxc-cgroup", "-P", str(folder.parent), "-n", folder.name, "devices.allow", rule])

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._point.unlink()
            with contextlib.suppress(OSError):
                self._point.parent.rmdir()
