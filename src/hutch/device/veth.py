"""Nics that are one end of a veth pair: what they share, whatever the other end is attached to."""

import hashlib
import re
import secrets
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

from hutch.device.base import Device
from hutch.errors import AlreadyExists, HutchError, Invalid
from hutch.kernel import ip
from hutch.runtime.base import Running
from hutch.runtime.plan import LaunchPlan, Link

_RANDOM = r"veth[0-9a-f]{8}"


@dataclass(frozen=True)
class Attachment:
    """Where the host's end goes: the bridge it joins (empty: none) and the MTU of both ends (0: the kernel's)."""

    bridge: str = ""
    mtu: int = 0


def random_name() -> str:
    return f"veth{secrets.token_hex(4)}"


class VethNic(Device):
    goes_first = True

    @abstractmethod
    async def attachment(self) -> Attachment:
        """Find the other side, and tell it of this nic where it wants to know before the guest boots."""

    def volatile(self) -> dict[str, str]:
        return {"host_name": self.host_name, "hwaddr": self.hwaddr}

    @cached_property
    def host_name(self) -> str:
        return self.config.get("host_name") or self.context.volatile.get("host_name") or random_name()

    @cached_property
    def hwaddr(self) -> str:
        given = self.config.get("hwaddr") or self.context.volatile.get("hwaddr")
        return (given or f"00:16:3e:{secrets.token_bytes(3).hex(':')}").lower()

    async def plan(self, plan: LaunchPlan) -> None:
        taken = {link.name for link in plan.links}
        name = self._name(taken)
        where = await self.attachment()
        outside = random_name()
        await self._create(f"name {outside}", where)
        mtu = int(self.config.get("mtu") or where.mtu)
        plan.links.append(Link(self.name, outside, name, self.hwaddr, mtu))

    async def plug(self, running: Running) -> None:
        name = self._name(await ip.names_inside(running.init))
        await self._create(f"name {name} netns {running.init}", await self.attachment())

    async def unplug(self, running: Running) -> None:
        await self.release()

    async def release(self) -> None:
        """Deleting the host's end deletes the guest's, wherever it is."""
        if not re.fullmatch(_RANDOM, self.host_name):
            found = await ip.interface(self.host_name)
            if found is None or found.alias != self._mark:
                return
        await ip.delete(self.host_name)

    @property
    def _mark(self) -> str:
        """The alias of our link: it tells one whose name was chosen by the user from somebody else's."""
        owner = f"{self.context.directory}/{self.name}"
        return f"hutch:{hashlib.sha256(owner.encode()).hexdigest()[:16]}"

    def _name(self, taken: set[str]) -> str:
        name = self.config.get("name", "")
        if name in taken:
            raise Invalid(f"device {self.name!r}: the instance has an interface called {name!r} already")
        return name or next(free for number in range(len(taken) + 1) if (free := f"eth{number}") not in taken)

    async def _create(self, peer: str, where: Attachment) -> None:
        wanted = self.config.get("mtu") or where.mtu
        mtu = f"mtu {wanted}" if wanted else ""
        # The host's end has the guest's address but for the first byte, fe: never the lowest among a bridge's ports, whose
        # address an unmanaged bridge takes for its own.
        outside = f"fe:{self.hwaddr[3:]}"
        master = f"master {where.bridge}" if where.bridge else ""
        try:
            await ip.batch(
                f"link add name {self.host_name} {mtu} address {outside} type veth "
                f"peer {peer} {mtu} address {self.hwaddr}",
                f"link set dev {self.host_name} alias {self._mark} addrgenmode none",
                f"link set dev {self.host_name} {master} up",
            )
        except AlreadyExists as error:
            raise AlreadyExists(
                f"device {self.name!r}: an interface with the name {self.host_name!r} exists already"
            ) from error
        except HutchError:
            await self.release()
            raise
