"""A nic on a bridge: a managed network, or one that the host's administrator made."""

from ipaddress import ip_address, ip_interface

from hutch.device.veth import Attachment, VethNic
from hutch.errors import Invalid, NotFound
from hutch.kernel import ip
from hutch.network.base import NetworkDriver, Reservation
from hutch.schema.keys.base import as_bool
from hutch.schema.keys.devices import NIC_BRIDGED


class Driver(VethNic):
    keys = NIC_BRIDGED

    def check(self) -> None:
        if self.config.get("network") and (self.config.get("parent") or self.config.get("nictype")):
            raise Invalid(
                f'device {self.name!r}: Cannot use "nictype" or "parent" in conjunction with "network" property'
            )
        if not self._parent:
            raise Invalid(f"device {self.name!r}: the key parent, or network, is required")
        network = self._network()
        for version in (4, 6):
            if self.config.get(f"ipv{version}.address"):
                self._check_static(version, network)

    async def attachment(self) -> Attachment:
        network = self._network()
        if network is None:
            return await self._unmanaged()
        await network.reserve(
            Reservation(
                project=self.context.project,
                instance=self.context.instance,
                device=self.name,
                hwaddr=self.hwaddr,
                ipv4=self.config.get("ipv4.address", ""),
                ipv6=self.config.get("ipv6.address", ""),
            )
        )
        return Attachment(network.name, int(network.config.get("bridge.mtu") or 1500))

    async def forget(self) -> None:
        try:
            network = self._network()
        except NotFound:
            return
        if network is not None:
            await network.release(self.context.project, self.context.instance, self.name)

    @property
    def _parent(self) -> str:
        return self.config.get("network") or self.config.get("parent", "")

    def _network(self) -> NetworkDriver | None:
        """The managed network, also when it was named as `parent`; None for a bridge that is not ours."""
        try:
            return self.context.network(self._parent)
        except NotFound:
            if self.config.get("network"):
                raise
            return None

    async def _unmanaged(self) -> Attachment:
        bridge = await ip.interface(self._parent)
        if bridge is None:
            raise NotFound(f"device {self.name!r}: Parent device {self._parent!r} doesn't exist")
        if bridge.kind != "bridge":
            raise Invalid(f"device {self.name!r}: Parent device {self._parent!r} is not a bridge")
        return Attachment(bridge.name, bridge.mtu)

    def _check_static(self, version: int, network: NetworkDriver | None) -> None:
        key, address = f"ipv{version}.address", self.config[f"ipv{version}.address"]
        what = f"device {self.name!r}: {key}"
        if network is None:
            raise Invalid(f"{what}: an address can only be given on a managed network, and {self._parent!r} is none")
        config = network.config
        gateway = config.get(key, "none")
        served = as_bool(config.get(f"ipv{version}.dhcp"), True)
        served = served and (version == 4 or as_bool(config.get("ipv6.dhcp.stateful")))
        if gateway in ("none", "") or not served:
            stateful = " or ipv6.dhcp.stateful" if version == 6 else ""
            raise Invalid(f"{what}: Cannot specify {key!r} when DHCP{stateful} is disabled on network {network.name!r}")
        subnet = ip_interface(gateway)
        if ip_address(address) not in subnet.network or ip_address(address) == subnet.ip:
            raise Invalid(
                f"{what}: Device IP address {address!r} is not for guests of network {network.name!r} ({subnet.network})"
            )
