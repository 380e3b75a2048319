"""Networks that are an interface of the host: nothing is made for them, and nothing served."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from hutch.errors import Invalid, NotFound
from hutch.kernel import ip
from hutch.network import interfaces
from hutch.network.base import Lease, NetworkDriver, Reservation
from hutch.schema.base import Config
from hutch.schema.keys.base import Key, check_all
from hutch.schema.keys.network import interface_name


class Uplink(NetworkDriver):
    keys: ClassVar[dict[str, Key]]

    @classmethod
    async def check(
        cls, name: str, config: Config, *, old: Config | None = None, others: Iterable[Config] = ()
    ) -> Config:
        interface_name(name)
        check_all(f"network {name!r}", config, cls.keys, free=("user.", "volatile."))
        if await ip.interface(config["parent"]) is None:
            raise Invalid(f"network {name!r}: Parent interface {config['parent']!r} not found")
        return {key: value for key, value in config.items() if value}

    @property
    def parent(self) -> str:
        return self.config["parent"]

    async def start(self) -> None:
        found = await ip.interface(self.parent)
        if found is None:
            raise NotFound(f"Parent interface {self.parent!r} not found")
        if (mtu := int(self.config.get("mtu") or 0)) and mtu != found.mtu:
            await ip.batch(f"link set dev {self.parent} mtu {mtu}")

    async def stop(self) -> None:
        """The interface is the host's."""

    async def update(self, config: Config) -> None:
        self.config = config
        await self.start()

    async def reserve(self, wanted: Reservation) -> None:
        """Whoever serves the network beyond the host gives addresses."""

    async def release(self, project: str, instance: str, device: str) -> None:
        """Nothing was reserved."""

    async def leases(self) -> list[Lease]:
        return []

    async def state(self) -> dict[str, Any]:
        return await interfaces.state(self.parent)

    async def links(self) -> Sequence[str]:
        return [self.parent]
