"""A nic on a bridge: a managed network, or one that the host's administrator made."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface

from hutch.device.veth import Attachment, VethNic
from hutch.errors import Invalid, NotFound
from hutch.kernel import ip
from hutch.network.base import NetworkDriver, Reservation
from hutch.schema.keys.base import as_bool
from hutch.schema.keys.devices import NIC_BRIDGED
from hutch.schema.keys.network import ACLS, subnets


class Driver(VethNic):
    keys = NIC_BRIDGED
    tunable = VethNic.tunable | {
        *("ipv4.address", "ipv6.address", "security.mac_filtering", "security.ipv4_filtering"),
        *("security.ipv6_filtering", "security.port_isolation", *ACLS),
    }

    @property
    def moves(self) -> bool:
        return True

    def check(self) -> None:
        if self.config.get("network") and (self.config.get("parent") or self.config.get("nictype")):
            raise Invalid(
                f'device {self.name!r}: Cannot use "nictype" or "parent" in conjunction with "network" property'
            )
        if not self._parent:
            raise Invalid(f"device {self.name!r}: the key parent, or network, is required")
        network = self._network()
        if acls := self.config.get("security.acls"):
            if network is None:
                raise Invalid(f"device {self.name!r}: ACLs are for managed networks, and {self._parent!r} is none")
            for name in (each.strip() for each in acls.split(",")):
                if name not in network.acls:
                    raise Invalid(f"device {self.name!r}: Network ACL {name!r} does not exist")
        for version in (4, 6):
            if self.config.get(f"ipv{version}.address"):
                self._check_static(version, network)
            elif network is None and self._filters(version):
                raise Invalid(
                    f"device {self.name!r}: security.ipv{version}_filtering on {self._parent!r}, which is not managed, "
                    f"needs ipv{version}.address"
                )

    async def attachment(self) -> Attachment:
        network = self._network()
        if network is None:
            return await self._unmanaged()
        wanted = Reservation(
            project=self.context.project,
            instance=self.context.instance,
            device=self.name,
            hwaddr=self.hwaddr,
            ipv4=self._static(4),
            ipv6=self._static(6),
            acls=self.config.get("security.acls", ""),
            acl_ingress=self.config.get("security.acls.default.ingress.action", ""),
            acl_egress=self.config.get("security.acls.default.egress.action", ""),
        )
        for version in (4, 6):
            if self._filters(version) and not self.config.get(f"ipv{version}.address"):
                wanted = replace(wanted, **{f"ipv{version}": await network.address_for(wanted, version)})
        await network.reserve(wanted)
        sources = [self._sources(version, getattr(wanted, f"ipv{version}")) for version in (4, 6)]
        return self._attachment(network.name, network.mtu, *sources)

    def _attachment(self, bridge: str, mtu: int, ipv4: Sequence[str] | None, ipv6: Sequence[str] | None) -> Attachment:
        return Attachment(
            bridge,
            mtu,
            isolated=as_bool(self.config.get("security.port_isolation")),
            only_hwaddr=self._may_be_filtered,
            ipv4=ipv4,
            ipv6=ipv6,
        )

    @property
    def _may_be_filtered(self) -> bool:
        names = ("mac", "ipv4", "ipv6")
        return (
            bool(self.config.get("security.acls"))
            or super()._may_be_filtered
            or any(as_bool(self.config.get(f"security.{each}_filtering")) for each in names)
        )

    async def forget(self) -> None:
        try:
            network = self._network()
        except NotFound:
            return
        if network is not None:
            await network.release(self.context.project, self.context.instance, self.name)

    @property
    def _through(self) -> str:
        return self._parent

    def _filters(self, version: int) -> bool:
        """ACLs of its own go by its addresses, so it may have no others."""
        return bool(self.config.get("security.acls")) or as_bool(self.config.get(f"security.ipv{version}_filtering"))

    def _static(self, version: int) -> str:
        address = self.config.get(f"ipv{version}.address", "")
        return "" if address == "none" else address

    def _sources(self, version: int, address: str) -> list[str] | None:
        """The only sources that the guest may send from; None when it is not filtered."""
        if not self._filters(version):
            return None
        routed = self.config.get(f"ipv{version}.routes", "")
        return [*([address] if address else []), *(subnets(version, routed) if routed else [])]

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
        sources = [self._sources(version, self._static(version)) for version in (4, 6)]
        return self._attachment(bridge.name, bridge.mtu, *sources)

    def _check_static(self, version: int, network: NetworkDriver | None) -> None:
        key, address = f"ipv{version}.address", self.config[f"ipv{version}.address"]
        what = f"device {self.name!r}: {key}"
        if address == "none" or (network is None and self._filters(version)):
            if address == "none" and not self._filters(version):
                raise Invalid(f"{what}: none is for security.ipv{version}_filtering")
            return
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
