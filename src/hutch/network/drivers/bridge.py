"""A managed bridge: a Linux bridge with addresses, dnsmasq and an nftables table of its own."""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Interface, IPv6Interface, IPv6Network, ip_address, ip_interface
from pathlib import Path
from typing import Any

from hutch.errors import Conflict, HutchError, Invalid, NotFound
from hutch.kernel import ip, nft, sysctl
from hutch.kernel.ip import Interface
from hutch.kernel.run import run
from hutch.network import acl, coexist, dnsmasq, firewall, forward, interfaces, leases, reservations, subnets, tunnels
from hutch.network.base import Lease, NetworkDriver, Reservation
from hutch.schema.acl import AclRecord
from hutch.schema.base import Config
from hutch.schema.forward import ForwardRecord
from hutch.schema.keys.base import as_bool, check_all
from hutch.schema.keys.network import BRIDGE, interface_name, ranges4, ranges6
from hutch.schema.keys.network import subnets as subnets_of

log = logging.getLogger(__name__)

_MACHINE = Path("/etc/machine-id")


class Driver(NetworkDriver):
    """Everything is made by comparing what is with what the settings ask for: starting twice changes nothing."""

    nictype = "bridged"
    keys = BRIDGE

    def __init__(self, name: str, path: Path, config: Config) -> None:
        super().__init__(name, path, config)
        self.dnsmasq = dnsmasq.Dnsmasq(path)
        self._judges = True
        self._has_table = self._rules = False
        self._ruling = asyncio.Lock()
        self._joined: Sequence[str] = ()
        self._routed: set[str] = set()
        self._mark = f"hutch:{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"

    @classmethod
    async def check(
        cls, name: str, config: Config, *, old: Config | None = None, others: Iterable[Config] = ()
    ) -> Config:
        interface_name(name)
        check_all(f"network {name!r}", config, BRIDGE, free=("user.", "volatile.", "tunnel."))
        tunnels.of(name, config)
        await _check_ports(name, config)
        settled = {key: value for key, value in config.items() if value}
        used = await subnets.taken(name, others)
        if old is None:
            has_ipv6 = await asyncio.to_thread(Path("/proc/sys/net/ipv6").is_dir)
            settled = {"ipv4.address": "auto", "ipv6.address": "auto" if has_ipv6 else "none"} | settled
        for version in (4, 6):
            _settle(name, settled, version, old, used)
        _check_ranges(name, settled)
        return settled

    async def start(self) -> None:
        found = await ip.interface(self.name)
        if found is not None and found.alias != self._mark:
            raise Conflict(f"Network interface {self.name!r} already exists and is not a network of this server")
        await asyncio.to_thread(self.path.mkdir, parents=True, exist_ok=True)
        await self._link(found)
        await self._join()
        await self._routes()
        await asyncio.to_thread(self._routing)
        async with self._ruling:
            self._rules = True
            await self._all_rules()
        await self._serve(fresh=found is None)

    async def stop(self) -> None:
        await self.dnsmasq.stop()
        async with self._ruling:
            self._rules = False
            await nft.delete(firewall.table_name(self.name))
            await nft.delete(forward.table_name(self.name))
            await nft.delete(acl.table_name(self.name))
            await coexist.withdraw(self.name)
        found = await ip.interface(self.name)
        if found is not None and found.alias == self._mark:
            for link in await ip.interfaces():
                if link.alias.startswith(f"{self._mark}-"):
                    await ip.delete(link.name)
            await ip.delete(self.name)

    async def update(self, config: Config) -> None:
        self.config = config
        await self.start()

    async def detach(self) -> None:
        await self.dnsmasq.detach()

    async def forward(self, forwards: Sequence[ForwardRecord]) -> None:
        """Put these forwards in force in place of the earlier ones."""
        self.forwards = forwards
        await self._forward()

    async def _forward(self) -> None:
        subnets = [item.network for item in (self.ipv4, self.ipv6) if item is not None]
        table = forward.table(self.name, self.forwards, subnets)
        await (nft.delete(forward.table_name(self.name)) if table is None else table.replace())

    async def judge(self, acls: Mapping[str, AclRecord]) -> None:
        """Put these ACLs in force in place of the earlier ones."""
        self.acls = acls
        await self._judge()

    async def _judge(self) -> None:
        reserved = [
            each for each in (await asyncio.to_thread(reservations.load, self.dnsmasq.hosts)).values() if each.acls
        ]
        table = self._acl_table(reserved)
        if table is None:
            if self._judges:
                await nft.delete(acl.table_name(self.name))
            self._judges = False
            return
        await self._show_to_firewall()
        await table.replace()
        self._judges = True

    async def _show_to_firewall(self) -> None:
        """Rules of the family inet see what goes from port to port too, on this bridge alone."""
        if not await asyncio.to_thread(sysctl.read, "net", "bridge", "bridge-nf-call-iptables"):
            await run(["modprobe", "-q", "br_netfilter"], ok=range(256))
        if not await asyncio.to_thread(sysctl.read, "net", "bridge", "bridge-nf-call-iptables"):
            log.warning("without br_netfilter ACLs of %s hold for routed packets, not from guest to guest", self.name)
            return
        await ip.batch(f"link set dev {self.name} type bridge nf_call_iptables 1 nf_call_ip6tables 1")

    def _acl_table(self, reserved: Sequence[Reservation]) -> nft.Table | None:
        names = _names_of(self.config.get("security.acls", ""))
        whole = acl.Policy(names, self._default("ingress"), self._default("egress"), *self._logged())
        subnets = [item.network for item in (self.ipv4, self.ipv6) if item is not None]
        groups: dict[str, list[str]] = {name: [str(subnet) for subnet in subnets] for name in names}
        nics = []
        for each in reserved:
            addresses = tuple(filter(None, (each.ipv4, each.ipv6)))
            own = _names_of(each.acls)
            for name in own:
                groups.setdefault(name, []).extend(addresses)
            defaults = (each.acl_ingress or whole.ingress, each.acl_egress or whole.egress)
            nics.append(acl.Subject(addresses, acl.Policy((*names, *own), *defaults, *self._logged())))
        return acl.table(self.name, whole, nics, acl.Surroundings(self.acls, subnets, groups))

    def _default(self, way: str) -> str:
        return self.config.get(f"security.acls.default.{way}.action") or "reject"

    def _logged(self) -> list[bool]:
        return [as_bool(self.config.get(f"security.acls.default.{way}.logged")) for way in ("ingress", "egress")]

    async def reserve(self, wanted: Reservation) -> None:
        if await asyncio.to_thread(reservations.save, self.dnsmasq.hosts, wanted, named=self._names):
            await self.dnsmasq.reload()
            await self._judge()

    async def address_for(self, wanted: Reservation, version: int) -> str:
        gateway = self.ipv4 if version == 4 else self.ipv6
        if gateway is None or not as_bool(self.config.get(f"ipv{version}.dhcp"), True):
            return ""
        if version == 6 and self._slaac is not None:
            return leases.eui64(self._slaac, wanted.hwaddr)
        reserved = await asyncio.to_thread(reservations.load, self.dnsmasq.hosts)
        own = reserved.pop(reservations.file_name(wanted.project, wanted.instance, wanted.device), None)
        known = getattr(own, f"ipv{version}", "") if own is not None else ""
        if known and ip_address(known) in gateway.network:
            return known
        given = await asyncio.to_thread(leases.given, self.dnsmasq.leases)
        taken = {str(gateway.ip), *(getattr(each, f"ipv{version}") for each in reserved.values())}
        return subnets.address(gateway.network, {*taken, *(each.address for each in given)}, wanted.hwaddr)

    async def release(self, project: str, instance: str, device: str) -> None:
        gone = await asyncio.to_thread(reservations.remove, self.dnsmasq.hosts, project, instance, device)
        if gone is None:
            return
        await asyncio.to_thread(self._give_back, gone)
        await self.dnsmasq.reload()
        if gone.acls:
            await self._judge()

    async def leases(self) -> list[Lease]:
        gateways = [item for item in (self.ipv4, self.ipv6) if item is not None]
        found = [Lease(f"{self.name}.gw", "", str(item.ip), "gateway") for item in gateways]
        reserved = await asyncio.to_thread(reservations.load, self.dnsmasq.hosts)
        given = await asyncio.to_thread(leases.given, self.dnsmasq.leases)
        seen = await ip.neighbours(self.name)
        return found + leases.of_guests(list(reserved.values()), given, seen, slaac=self._slaac, named=self._names)

    async def state(self) -> dict[str, Any]:
        return await interfaces.state(self.name)

    async def links(self) -> Sequence[str]:
        return [link.name for link in await ip.interfaces() if link.master == self.name]

    @property
    def mtu(self) -> int:
        return int(self.config.get("bridge.mtu") or (tunnels.MTU if tunnels.of(self.name, self.config) else 1500))

    @property
    def ipv4(self) -> IPv4Interface | None:
        value = self.config.get("ipv4.address", "none")
        return None if value in ("none", "") else IPv4Interface(value)

    @property
    def ipv6(self) -> IPv6Interface | None:
        value = self.config.get("ipv6.address", "none")
        return None if value in ("none", "") else IPv6Interface(value)

    @property
    def _slaac(self) -> IPv6Network | None:
        stateful = as_bool(self.config.get("ipv6.dhcp"), True) and as_bool(self.config.get("ipv6.dhcp.stateful"))
        return None if self.ipv6 is None or stateful else self.ipv6.network

    @property
    def _names(self) -> bool:
        return self.config.get("dns.mode", "managed") == "managed"

    def _hwaddr(self) -> str:
        """The bridge's address, fixed so that it is never a port's: the same at every start, another on every host."""
        if given := self.config.get("bridge.hwaddr"):
            return given.lower()
        machine = _MACHINE.read_bytes() if _MACHINE.is_file() else b""
        return "00:16:3e:" + hashlib.sha256(machine + str(self.path).encode()).digest()[:3].hex(":")

    async def _link(self, found: Interface | None) -> None:
        hwaddr = await asyncio.to_thread(self._hwaddr)
        if found is None:
            mark = f"link set dev {self.name} alias {self._mark}"
            await ip.batch(f"link add {self.name} address {hwaddr} type bridge", mark)
            found = await ip.interface(self.name)
        if found is None:
            raise NotFound(f"the bridge {self.name!r} was removed while it was being made")
        await asyncio.to_thread(self._before_up)
        lines = [f"link set dev {self.name} mtu {self.mtu}"] if found.mtu != self.mtu else []
        lines += [f"link set dev {self.name} address {hwaddr}"] if found.hwaddr != hwaddr else []
        await ip.batch(*lines, *self._addresses(found), *([] if found.up else [f"link set dev {self.name} up"]))

    async def _join(self) -> None:
        """Tunnels and interfaces of the host as ports: those that are wanted, and none that were."""
        links = {link.name: link for link in await ip.interfaces()}
        wanted = {each.link: each for each in tunnels.of(self.name, self.config)}
        own = {link.name: link.alias for link in links.values() if link.alias.startswith(f"{self._mark}-")}
        lines = [
            f"link delete dev {name}"
            for name, alias in own.items()
            if name not in wanted or alias != f"{self._mark}-{wanted[name].mark}"
        ]
        for name, tunnel in wanted.items():
            if own.get(name) != f"{self._mark}-{tunnel.mark}":
                if name in links and name not in own:
                    raise Conflict(f"Network interface {name!r} already exists and is not a tunnel of this network")
                lines += [tunnel.line(), f"link set dev {name} alias {self._mark}-{tunnel.mark}"]
                lines += [f"link set dev {name} mtu {self.mtu} master {self.name} up"]
        ports = [each for each in _names_of(self.config.get("bridge.external_interfaces", "")) if each in links]
        lines += [f"link set dev {each} master {self.name} up" for each in ports if links[each].master != self.name]
        for link in links.values():
            if link.master == self.name and link.name not in ports and link.name in self._joined:
                lines.append(f"link set dev {link.name} nomaster")
        self._joined = ports
        await ip.batch(*lines)

    async def _routes(self) -> None:
        wanted = {
            each
            for version in (4, 6)
            if (value := self.config.get(f"ipv{version}.routes"))
            for each in subnets_of(version, value)
        }
        for each in self._routed - wanted:
            with contextlib.suppress(HutchError):
                await ip.batch(f"route delete {each} dev {self.name} proto static")
        await ip.batch(*(f"route replace {each} dev {self.name} proto static" for each in sorted(wanted)))
        self._routed = wanted

    def _before_up(self) -> None:
        sysctl.write("0" if self.ipv6 else "1", "net", "ipv6", "conf", self.name, "disable_ipv6")
        # Without it the addresses stay tentative while nothing is attached, and dnsmasq is silent for two seconds after.
        sysctl.write("0", "net", "ipv6", "conf", self.name, "accept_dad")
        sysctl.write("0", "net", "ipv6", "conf", self.name, "accept_ra")

    def _addresses(self, found: Interface) -> list[str]:
        wanted = [str(item) for item in (self.ipv4, self.ipv6) if item is not None]
        # Those of IPv6 go by themselves when it is switched off.
        families = ("inet", "inet6") if self.ipv6 else ("inet",)
        have = [str(item) for item in found.addresses if item.scope == "global" and item.family in families]
        lines = [f"address delete {item} dev {self.name}" for item in have if item not in wanted]
        for item in wanted:
            if item not in have:
                lines.append(f"address add {item} dev {self.name} {'nodad' if ':' in item else 'brd +'}")
        return lines

    def _routing(self) -> None:
        if self.ipv4 is not None and as_bool(self.config.get("ipv4.routing"), True):
            sysctl.write("1", "net", "ipv4", "ip_forward")
        if self.ipv6 is not None and as_bool(self.config.get("ipv6.routing"), True):
            _route_ipv6()

    async def _firewall(self) -> None:
        table = firewall.wanted(self.name, self.config, self.ipv4, self.ipv6)
        await (nft.delete(firewall.table_name(self.name)) if table is None else table.replace())
        self._has_table = table is not None
        await coexist.withdraw(self.name)
        await coexist.admit(self.name, self._admitted, await nft.chains())

    @property
    def _admitted(self) -> list[int]:
        """The families whose traffic the firewall is to let through."""
        gateways = ((4, self.ipv4), (6, self.ipv6))
        return [
            version
            for version, gateway in gateways
            if gateway is not None and as_bool(self.config.get(f"ipv{version}.firewall"), True)
        ]

    async def mend(self, chains: Sequence[dict[str, Any]]) -> None:
        async with self._ruling:
            if not self._rules:
                return
            if self._lacks_table(chains) and self._lacks_table(await nft.chains()):
                log.warning("the firewall was flushed: the rules of %s are put back", self.name)
                await self._all_rules()
            else:
                await coexist.admit(self.name, self._admitted, chains)

    def _lacks_table(self, chains: Sequence[dict[str, Any]]) -> bool:
        return self._has_table and firewall.table_name(self.name) not in {chain["table"] for chain in chains}

    async def _all_rules(self) -> None:
        await self._firewall()
        await self._forward()
        await self._judge()

    async def _serve(self, *, fresh: bool) -> None:
        if self.ipv4 is None and self.ipv6 is None:
            await self.dnsmasq.stop()
            return
        changed = await asyncio.to_thread(self._rewrite_reservations)
        arguments = dnsmasq.arguments(self.name, self.config, self.ipv4, self.ipv6) + await dnsmasq.upstream()
        await self.dnsmasq.ensure(arguments, self.config.get("raw.dnsmasq", ""), fresh=fresh)
        if changed:
            await self.dnsmasq.reload()

    def _rewrite_reservations(self) -> bool:
        known = reservations.load(self.dnsmasq.hosts).values()
        changed = [reservations.save(self.dnsmasq.hosts, entry, named=self._names) for entry in known]
        return any(changed)

    def _give_back(self, nic: Reservation) -> None:
        server = leases.server_id(self.dnsmasq.leases)
        for lease in leases.given(self.dnsmasq.leases):
            gateway = self.ipv6 if lease.is_ipv6 else self.ipv4
            if gateway is not None and lease.belongs_to(nic, named=self._names):
                leases.give_back(self.name, str(gateway.ip), lease, server)


async def _check_ports(name: str, config: Config) -> None:
    for each in _names_of(config.get("bridge.external_interfaces", "")):
        found = await ip.interface(each)
        if found is None:
            raise Invalid(f"network {name!r}: bridge.external_interfaces: there is no interface {each!r}")
        if found.master not in ("", name) or any(item.scope == "global" for item in found.addresses):
            raise Invalid(
                f"network {name!r}: bridge.external_interfaces: {each!r} is in use: it has addresses, or a master"
            )


def _names_of(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _settle(name: str, config: Config, version: int, old: Config | None, used: list[tuple[ip.Network, str]]) -> None:
    """Replace auto by a free subnet, and refuse a subnet that overlaps with one in use."""
    key = f"ipv{version}.address"
    value = config.get(key, "none")
    if value == "auto":
        config[key] = subnets.free(version, used)
        config.setdefault(f"ipv{version}.nat", "true")
    elif value != "none" and (old is None or old.get(key) != value):
        where = subnets.conflict(ip_interface(value).network, used)
        if where:
            raise Invalid(f"network {name!r}: {key}: {value} overlaps with {where}: give another, or auto")
    if version == 6 and config.get(key, "none") != "none":
        _check_prefix(name, config)


def _check_prefix(name: str, config: Config) -> None:
    """Guests can only make addresses for themselves in a /64, and dnsmasq serves no larger subnet."""
    length = IPv6Interface(config["ipv6.address"]).network.prefixlen
    stateful = as_bool(config.get("ipv6.dhcp"), True) and as_bool(config.get("ipv6.dhcp.stateful"))
    if length < 64 or (length > 64 and not stateful):
        raise Invalid(
            f"network {name!r}: ipv6.address: the subnet must be a /64 (or smaller with ipv6.dhcp.stateful=true), "
            f"not a /{length}"
        )


def _check_ranges(name: str, config: Config) -> None:
    for version, parse in ((4, ranges4), (6, ranges6)):
        ranges, gateway = config.get(f"ipv{version}.dhcp.ranges"), config.get(f"ipv{version}.address", "none")
        if not ranges or gateway == "none":
            continue
        network = ip_interface(gateway).network
        for first, last in parse(ranges):
            if ip_interface(first).ip not in network or ip_interface(last).ip not in network:
                raise Invalid(f"network {name!r}: ipv{version}.dhcp.ranges: {first}-{last} is not within {network}")


def _route_ipv6() -> None:
    """Forward IPv6, and go on taking router advertisements where they were taken: forwarding alone would end that."""
    for name in sysctl.interfaces("ipv6"):
        if sysctl.read("net", "ipv6", "conf", name, "accept_ra") == "1":
            sysctl.write("2", "net", "ipv6", "conf", name, "accept_ra")
    sysctl.write("1", "net", "ipv6", "conf", "all", "forwarding")
