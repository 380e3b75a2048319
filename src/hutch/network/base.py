"""What a network driver does: it owns one interface of the daemon's network namespace and what serves it."""

import asyncio
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hutch.schema.acl import AclRecord
from hutch.schema.base import Config
from hutch.schema.forward import ForwardRecord
from hutch.schema.keys.base import Key


@dataclass(frozen=True)
class Lease:
    """An address that a guest has or may take. `type` is static, dynamic, gateway or uplink."""

    hostname: str
    hwaddr: str
    address: str
    type: str


@dataclass(frozen=True)
class Reservation:
    """What DHCP and DNS must know of an instance's nic; addresses may be empty.

    `acls` are the ACLs of its own, comma separated, with what happens to what they do not speak of (empty: as the network says).
    """

    project: str
    instance: str
    device: str
    hwaddr: str
    ipv4: str = ""
    ipv6: str = ""
    acls: str = ""
    acl_ingress: str = ""
    acl_egress: str = ""


class NetworkDriver(ABC):
    """One network. `path` is its folder (DIR/networks/NAME), `name` its interface, `nictype` how nics join it, `keys` what its
    config may hold."""

    nictype: ClassVar[str]
    keys: ClassVar[Mapping[str, Key]] = {}

    def __init__(self, name: str, path: Path, config: Config) -> None:
        self.name, self.path, self.config = name, path, config
        self.forwards: Sequence[ForwardRecord] = ()
        self.acls: Mapping[str, AclRecord] = {}

    @property
    def mtu(self) -> int:
        """What nics on it have unless they are told otherwise; 0 for what the kernel says."""
        return 0

    @classmethod
    @abstractmethod
    async def check(
        cls, name: str, config: Config, *, old: Config | None = None, others: Iterable[Config] = ()
    ) -> Config:
        """The settings completed with what is chosen here (free subnets for auto); Invalid with a sentence otherwise.

        `old` are the settings of a network that exists (None: it is being created, and what is not said is auto),
        `others` those of the other managed networks.
        """

    @abstractmethod
    async def start(self) -> None:
        """Make the interface, its addresses, its rules and its services; adopts what is there already from an earlier daemon."""

    @abstractmethod
    async def stop(self) -> None:
        """Remove all of it from the host; the settings, reservations and leases stay."""

    async def delete(self) -> None:
        """Stop, and remove the folder."""
        await self.stop()
        await asyncio.to_thread(shutil.rmtree, self.path, ignore_errors=True)

    async def detach(self) -> None:
        """The daemon ends: watch it no more, and leave it in service."""

    @abstractmethod
    async def update(self, config: Config) -> None:
        """Take new settings, live: nothing that they do not concern is interrupted."""

    @abstractmethod
    async def reserve(self, wanted: Reservation) -> None:
        """Tell DHCP and DNS of a nic, before the guest boots."""

    async def mend(self, chains: Sequence[dict[str, Any]]) -> None:
        """Somebody changed the firewall, which has these chains now: put back what is missing for this network."""

    async def address_for(self, wanted: Reservation, version: int) -> str:
        """An address that a nic can have for good: the one it has reserved, or a free one; empty when the network has none."""
        return ""

    @abstractmethod
    async def release(self, project: str, instance: str, device: str) -> None:
        """Forget a nic's reservation and its leases. Does nothing if absent."""

    @abstractmethod
    async def leases(self) -> list[Lease]: ...

    @abstractmethod
    async def state(self) -> dict[str, Any]:
        """The interface as GET /1.0/networks/NAME/state answers it: addresses, counters, hwaddr, mtu, state, type, bridge."""

    @abstractmethod
    async def links(self) -> Sequence[str]:
        """Interfaces attached to it."""
