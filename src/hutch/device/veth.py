"""Nics that are one end of a veth pair: what they share, whatever the other end is attached to."""

import asyncio
import contextlib
import hashlib
import logging
import re
import secrets
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from hutch.device import nicfilter
from hutch.device.base import Device
from hutch.device.moved import free_name
from hutch.errors import AlreadyExists, HutchError
from hutch.kernel import bridges, frames, ip, nft, tc
from hutch.runtime.base import Running
from hutch.runtime.plan import LaunchPlan, Link
from hutch.schema.keys.base import as_bits
from hutch.schema.keys.network import subnets

log = logging.getLogger(__name__)

MARK = "hutch:"
"""What the alias of a link of ours begins with."""

_RANDOM = r"veth[0-9a-f]{8}"


@dataclass(frozen=True)
class Attachment:
    """Where the host's end goes: the bridge it joins (empty: none) and the MTU of both ends (0: the kernel's).

    `isolated` keeps it from other such ports; `only_hwaddr`, and the addresses in `ipv4` and `ipv6` (None: any), are what the
    guest may send from.
    """

    bridge: str = ""
    mtu: int = 0
    isolated: bool = False
    only_hwaddr: bool = False
    ipv4: Sequence[str] | None = None
    ipv6: Sequence[str] | None = None


def random_name() -> str:
    return f"veth{secrets.token_hex(4)}"


class VethNic(Device):
    goes_first = True
    tunable = frozenset(
        {"limits.ingress", "limits.egress", "limits.max", "limits.priority", "ipv4.routes", "ipv6.routes"}
    )
    follows = frozenset({"limits.network.priority"})
    _where: Attachment | None = None
    _kept: frames.Kept | None = None
    _said: frames.Kept | None = None

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
        name = free_name(self, taken)
        where = self._where = await self.attachment()
        outside = random_name()
        await self._create(f"name {outside}", replace(where, bridge="", isolated=False) if plan.held else where)
        mtu = int(self.config.get("mtu") or where.mtu)
        plan.links.append(Link(self.name, outside, name, self.hwaddr, mtu))

    async def await_guest(self, addresses: Mapping[str, Sequence[str]]) -> None:
        if self._where is not None and self._where.bridge:
            self._kept = await asyncio.to_thread(frames.Kept, self.hwaddr)
            self._said = await asyncio.to_thread(partial(frames.Kept, self.hwaddr, sent=True))
            await self.announce(addresses)

    async def announce(self, addresses: Mapping[str, Sequence[str]]) -> None:
        where = self._where or await self.attachment()
        if where.bridge:
            await asyncio.to_thread(bridges.announce, where.bridge, self.hwaddr, addresses.get(self.hwaddr, ()))

    async def admit(self, addresses: Mapping[str, Sequence[str]]) -> None:
        where = self._where or await self.attachment()
        if not where.bridge:
            return
        await asyncio.to_thread(bridges.join, where.bridge, self.host_name)
        if where.isolated:
            await ip.batch(f"link set dev {self.host_name} type bridge_slave isolated on")
        await asyncio.to_thread(self._exchange, where.bridge)
        await self.announce(addresses)

    def _exchange(self, bridge: str) -> None:
        """Give the guest what came for it, and others what it has said: its first question for an address would be asked again
        only after a second."""
        if self._said is not None:
            self._said.give(bridge, only=self.host_name)
        if self._kept is not None:
            count = self._kept.give(self.host_name, without=(bridge,))
            log.debug("%d frames waited for %s", count, self.host_name)
        self._kept = self._said = None

    async def plug(self, running: Running) -> None:
        name = free_name(self, await ip.names_inside(running.init))
        await self._create(f"name {name} netns {running.init}", await self.attachment())

    async def mend(self, tables: Collection[str]) -> None:
        if self._may_be_filtered and nicfilter.name(self.host_name) not in tables:
            await self._filter(await self.attachment(), fresh=True)

    async def tune(self, old: Device) -> None:
        assert isinstance(old, VethNic)
        where = await self.attachment()
        await self.restrain(where)
        if where.bridge:
            await ip.batch(
                f"link set dev {self.host_name} type bridge_slave isolated {'on' if where.isolated else 'off'}"
            )
        await old.unroute(keep=self._routes)
        await self._route(keep=old._routes)

    async def restrain(self, where: Attachment) -> None:
        """Put filters and rates in force in place of earlier ones."""
        await self._filter(where, fresh=False)
        await tc.shape(self.host_name, self._rate("ingress"))

    async def unplug(self, running: Running) -> None:
        await self.release()

    async def release(self) -> None:
        """Deleting the host's end deletes the guest's, wherever it is."""
        for each in (self._kept, self._said):
            if each is not None:
                each.close()
        self._kept = self._said = None
        if not re.fullmatch(_RANDOM, self.host_name):
            found = await ip.interface(self.host_name)
            if found is None or found.alias != self._mark:
                return
        await ip.delete(self.host_name)
        if self._may_be_filtered:
            await nft.delete(nicfilter.name(self.host_name), nicfilter.FAMILY)
        await self.unroute()

    @property
    def _mark(self) -> str:
        """The alias of our link: it tells one whose name was chosen by the user from somebody else's."""
        owner = f"{self.context.directory}/{self.name}"
        return f"{MARK}{hashlib.sha256(owner.encode()).hexdigest()[:16]}"

    async def _create(self, peer: str, where: Attachment) -> None:
        wanted = self.config.get("mtu") or where.mtu
        mtu = f"mtu {wanted}" if wanted else ""
        # The host's end has the guest's address but for the first byte, fe: never the lowest among a bridge's ports, whose
        # address an unmanaged bridge takes for its own.
        outside = f"fe:{self.hwaddr[3:]}"
        queue = f"txqueuelen {self.config['queue.tx.length']}" if self.config.get("queue.tx.length") else ""
        master = f"master {where.bridge}" if where.bridge else ""
        made = [
            f"link add name {self.host_name} {mtu} {queue} address {outside} type veth "
            f"peer {peer} {mtu} {queue} address {self.hwaddr}",
            f"link set dev {self.host_name} alias {self._mark} addrgenmode none",
        ]
        isolated = [f"link set dev {self.host_name} type bridge_slave isolated on"] if where.isolated else []
        joined = [f"link set dev {self.host_name} {master}", *isolated, f"link set dev {self.host_name} up"]
        try:
            if self._allowed(where) != nicfilter.Allowed() or self._rate("ingress"):
                # The rules stand before the first packet can pass.
                await ip.batch(*made)
                await self._filter(where, fresh=True)
                await tc.shape(self.host_name, self._rate("ingress"))
                made = []
            await ip.batch(*made, *(joined if master else joined[1:]))
            made = []
            await self._route()
        except AlreadyExists as error:
            if not made:
                await self.release()
                raise
            raise AlreadyExists(
                f"device {self.name!r}: an interface with the name {self.host_name!r} exists already"
            ) from error
        except HutchError:
            await self.release()
            raise

    def _rate(self, direction: str) -> int:
        value = self.config.get("limits.max") or self.config.get(f"limits.{direction}", "")
        return as_bits(value) if value else 0

    def _allowed(self, where: Attachment) -> nicfilter.Allowed:
        return nicfilter.Allowed(
            hwaddr=self.hwaddr if where.only_hwaddr else "",
            ipv4=where.ipv4,
            ipv6=where.ipv6,
            rate=self._rate("egress"),
            priority=self.config.get("limits.priority") or self.context.config.get("limits.network.priority", ""),
        )

    @property
    def _may_be_filtered(self) -> bool:
        return self._allowed(Attachment()) != nicfilter.Allowed()

    async def _filter(self, where: Attachment, *, fresh: bool) -> None:
        table = nicfilter.table(self.host_name, self._allowed(where))
        if table is not None:
            await table.replace()
        elif not fresh:
            await nft.delete(nicfilter.name(self.host_name), nicfilter.FAMILY)

    @property
    def _through(self) -> str:
        """The interface that the host's routes to the guest lead through."""
        return self.host_name

    @property
    def _routes(self) -> set[str]:
        return {
            subnet
            for version in (4, 6)
            if (value := self.config.get(f"ipv{version}.routes"))
            for subnet in subnets(version, value)
        }

    async def _route(self, keep: Collection[str] = ()) -> None:
        for subnet in sorted(self._routes - set(keep)):
            try:
                await ip.batch(f"route add {subnet} dev {self._through} proto static")
            except AlreadyExists as error:
                raise AlreadyExists(f"device {self.name!r}: the host has a route to {subnet} already") from error

    async def unroute(self, keep: Collection[str] = ()) -> None:
        """Take the host's routes away, but those to `keep`."""
        for subnet in sorted(self._routes - set(keep)):
            with contextlib.suppress(HutchError):
                await ip.batch(f"route delete {subnet} dev {self._through} proto static")
