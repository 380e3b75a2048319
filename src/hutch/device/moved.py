"""Nics that move into the guest as a whole: nothing of them stays on the host while it runs."""

import json
import os
import re
import secrets
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from hutch.device.base import Device
from hutch.errors import Invalid, NotFound
from hutch.kernel import ip
from hutch.kernel.run import run
from hutch.runtime.base import Running
from hutch.runtime.plan import LaunchPlan, Link


def free_name(device: Device, taken: set[str]) -> str:
    """What the link is called in the guest: as configured, or the first ethN that is not taken."""
    name = device.config.get("name", "")
    if name in taken:
        raise Invalid(f"device {device.name!r}: the instance has an interface called {name!r} already")
    return name or next(free for number in range(len(taken) + 1) if (free := f"eth{number}") not in taken)


class MovedNic(Device):
    """`host_name` is the link's name out here, before the guest starts and after it has ended."""

    @property
    def parent(self) -> str:
        """The interface of the host: named here, or by the managed network."""
        if network := self.config.get("network"):
            return self.context.network(network).config.get("parent", "")
        return self.config.get("parent", "")

    @property
    @abstractmethod
    def host_name(self) -> str: ...

    @cached_property
    def hwaddr(self) -> str:
        return (self.config.get("hwaddr") or self.context.volatile.get("hwaddr", "")).lower()

    @abstractmethod
    async def make(self, parent: ip.Interface) -> None:
        """Have the link ready in the daemon's namespace."""

    @abstractmethod
    async def give_back(self) -> None:
        """Leave the host as it was, once the link is out of the guest; works when there is none."""

    def check(self) -> None:
        if self.config.get("network") and (self.config.get("parent") or self.config.get("nictype")):
            raise Invalid(
                f'device {self.name!r}: Cannot use "nictype" or "parent" in conjunction with "network" property'
            )
        if not self.parent:
            raise Invalid(f"device {self.name!r}: the key parent, or network, is required")

    async def plan(self, plan: LaunchPlan) -> None:
        name = free_name(self, {link.name for link in plan.links})
        await self.make(await self._found())
        plan.links.append(Link(self.name, self.host_name, name, self.hwaddr, int(self.config.get("mtu") or 0)))

    async def plug(self, running: Running) -> None:
        name = free_name(self, await ip.names_inside(running.init))
        await self.make(await self._found())
        mtu = f"mtu {self.config['mtu']}" if self.config.get("mtu") else ""
        await ip.batch(f"link set dev {self.host_name} netns {running.init} name {name} {mtu}")

    async def unplug(self, running: Running) -> None:
        inside = ["nsenter", "-t", str(running.init), "-n", "ip"]
        for item in json.loads(await run([*inside, "-j", "link", "show"]) or "[]"):
            if self.is_mine(item):
                name = item["ifname"]
                await run([*inside, "link", "set", "dev", name, "down"])
                await run([*inside, "link", "set", "dev", name, "netns", str(os.getpid()), "name", self.host_name])

    @abstractmethod
    def is_mine(self, link: Mapping[str, Any]) -> bool:
        """Whether a link in the guest, as `ip -j` shows it, is this nic."""

    async def release(self) -> None:
        await self.give_back()

    async def _found(self) -> ip.Interface:
        if (found := await ip.interface(self.parent)) is None:
            raise NotFound(f"device {self.name!r}: Parent device {self.parent!r} doesn't exist")
        return found


def random_hwaddr() -> str:
    return f"00:16:3e:{secrets.token_bytes(3).hex(':')}"


def is_random(name: str, prefix: str) -> bool:
    return re.fullmatch(rf"{prefix}[0-9a-f]{{8}}", name) is not None
