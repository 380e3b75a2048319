"""What a device does to an instance. One object a device and a start; what must survive is in `volatile`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hutch.kernel.idmap import IdMap
from hutch.kernel.inotify import PathWatch
from hutch.network.base import NetworkDriver
from hutch.runtime.base import Running
from hutch.runtime.plan import LaunchPlan
from hutch.runtime.proxies import Proxies
from hutch.schema.base import Config, Devices
from hutch.schema.keys.base import Key
from hutch.schema.storage import VolumeRecord
from hutch.storage.base import StorageDriver


@dataclass(frozen=True)
class Context:
    """What a device may know and use of its surroundings.

    `config` is the expanded config of the instance, `volatile` what is recorded of this device under
    volatile.NAME.* (keys without that prefix). `network(name)` and `pool(name)` answer running drivers, `volume(pool, name)`
    a custom volume, or raise NotFound. `devices` are all of the instance's, expanded; `folders` those of the host that disks may
    come from; empty: any.
    """

    project: str
    instance: str
    config: Config
    idmap: list[IdMap]
    directory: Path
    volatile: Mapping[str, str]
    network: Callable[[str], NetworkDriver]
    pool: Callable[[str], StorageDriver]
    devices: Devices
    proxies: Proxies | None
    paths: PathWatch | None
    volume: Callable[[str, str], VolumeRecord]
    folders: Sequence[str] = ()


class Device(ABC):
    """A device of an instance: `name`, `config` its keys (with `type`)."""

    keys: ClassVar[Mapping[str, Key]]
    live: ClassVar[bool] = True
    """Whether it can be plugged and unplugged while the guest runs."""

    tunable: ClassVar[frozenset[str]] = frozenset()
    """Keys whose change `tune` applies, with nothing unplugged."""

    follows: ClassVar[frozenset[str]] = frozenset()
    """Keys of the instance whose change `tune` applies."""

    goes_first: ClassVar[bool] = False
    """Whether `release` may run while the guest is being killed, to save its time."""

    def __init__(self, name: str, config: Config, context: Context) -> None:
        self.name, self.config, self.context = name, config, context

    @property
    def moves(self) -> bool:
        """Whether it goes along when the guest moves to another host while it runs."""
        return False

    @abstractmethod
    def check(self) -> None:
        """Invalid with a sentence when the settings do not fit together; the keys' own types were checked before."""

    def volatile(self) -> dict[str, str]:
        """What must be written down before `plan` or `plug` makes anything: names of links, addresses. Keys without prefix."""
        return {}

    @abstractmethod
    async def plan(self, plan: LaunchPlan) -> None:
        """Make what the device needs on the host and add it to the plan."""

    async def await_guest(self, addresses: Mapping[str, Sequence[str]]) -> None:
        """A guest will be here in a moment, whose links are `held`: take to itself, for `admit`, what others send it meanwhile."""

    async def announce(self, addresses: Mapping[str, Sequence[str]]) -> None:
        """Tell the network that these addresses, by hardware address, are the guest's here."""

    async def admit(self, addresses: Mapping[str, Sequence[str]]) -> None:
        """Let in what a plan that is `held` keeps out, and what was kept for the guest; then as `announce`."""

    async def started(self, running: Running) -> None:
        """Give the device what needs the guest to be there; called after a start, and when a daemon finds the guest running."""

    async def release(self) -> None:
        """Remove from the host what `plan` or `plug` made, by what `volatile` says; works after a crash, and twice."""

    async def forget(self) -> None:
        """The device leaves the instance, or the instance is deleted: drop reservations and the like."""

    async def plug(self, running: Running) -> None:
        """Give the device to a running guest."""

    async def follow(self, running: Running) -> None:
        """A path of the host that the device gave to the context's `paths` may have come or gone."""

    async def mend(self, tables: Collection[str]) -> None:
        """Make firewall tables again that somebody has removed; `tables` are there."""

    async def tune(self, old: "Device") -> None:
        """Make what a running guest has fit these settings, which differ from those of `old` in tunable keys only."""

    async def unplug(self, running: Running) -> None:
        """Take the device from a running guest."""
