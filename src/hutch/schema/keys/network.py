"""The config keys of managed networks."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network

from hutch.errors import Invalid
from hutch.schema.keys.base import Key, as_int, boolean, choice, integer, one_of, text


def interface_name(value: str) -> str:
    """The name that an interface of the host gets; LXD's rules and words."""
    if len(value) < 2:
        raise Invalid(f"Network interface {value!r} is too short (minimum 2 characters)")
    if len(value) > 15:
        raise Invalid(f"Network interface {value!r} is too long (maximum 15 characters)")
    if not re.fullmatch(r"[-_a-zA-Z0-9.]+", value) or value in ("..", "lo", "all", "default"):
        raise Invalid(f"Network interface {value!r} contains invalid characters or is reserved")
    return value


def hwaddr(value: str) -> str:
    """A unicast Ethernet address, in lower case."""
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", value):
        raise Invalid(f"invalid MAC address {value!r}: six hexadecimal bytes separated by colons are expected")
    if int(value[:2], 16) & 1:
        raise Invalid(f"invalid MAC address {value!r}: it is a multicast address")
    return value.lower()


def mtu(value: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", value) or not 1280 <= int(value) <= 16384:
        raise Invalid(f"invalid MTU {value}: it must be between 1280 and 16384")
    return int(value)


def address(version: int, value: str) -> IPv4Address | IPv6Address:
    try:
        found = ip_address(value)
    except ValueError:
        raise Invalid(f"not an IPv{version} address: {value!r}") from None
    if found.version != version:
        raise Invalid(f"not an IPv{version} address: {value!r}")
    return found


def ipv4(value: str) -> IPv4Address | IPv6Address:
    return address(4, value)


def ipv6(value: str) -> IPv4Address | IPv6Address:
    return address(6, value)


def subnets(version: int, value: str) -> list[str]:
    """Subnets, or addresses for those of one, comma separated."""
    found = []
    for part in (word.strip() for word in value.split(",")):
        try:
            subnet = ip_network(part)
        except ValueError as error:
            raise Invalid(f"not an IPv{version} subnet: {part!r}: {error}") from None
        if subnet.version != version:
            raise Invalid(f"not an IPv{version} subnet: {part!r}")
        found.append(str(subnet))
    return found


def subnets4(value: str) -> list[str]:
    return subnets(4, value)


def subnets6(value: str) -> list[str]:
    return subnets(6, value)


def _gateway(version: int, value: str) -> str:
    if value in ("auto", "none"):
        return value
    try:
        found = ip_interface(value)
    except ValueError:
        raise Invalid(f"not an IPv{version} address in CIDR notation: {value!r}") from None
    if found.version != version or "/" not in value:
        raise Invalid(f"not an IPv{version} address in CIDR notation: {value!r}")
    longest = 30 if version == 4 else 126
    if found.network.prefixlen > longest:
        raise Invalid(f"the subnet {found.network} is too small: at most /{longest} leaves room for guests")
    if found.ip == found.network.network_address or found.ip.is_multicast or found.ip.is_loopback:
        raise Invalid(f"{value} is not the address of a host in {found.network}")
    return value


def gateway4(value: str) -> str:
    return _gateway(4, value)


def gateway6(value: str) -> str:
    return _gateway(6, value)


def _ranges(version: int, value: str) -> list[tuple[str, str]]:
    found = []
    for part in value.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if not dash:
            raise Invalid(f"invalid address range {part!r}: FIRST-LAST is expected")
        if int(address(version, first)) > int(address(version, last)):
            raise Invalid(f"invalid address range {part!r}: it ends before it begins")
        found.append((first, last))
    return found


def ranges4(value: str) -> list[tuple[str, str]]:
    """`FIRST-LAST,FIRST-LAST` as pairs."""
    return _ranges(4, value)


def ranges6(value: str) -> list[tuple[str, str]]:
    return _ranges(6, value)


def _expiry(value: str) -> str:
    if not re.fullmatch(r"\d+[smhdw]?|infinite", value):
        raise Invalid(f"invalid lease time {value!r}: a number with s, m, h, d or w, or infinite, is expected")
    return value


def domain(value: str) -> str:
    label = r"[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
    if len(value) > 253 or not re.fullmatch(rf"{label}(\.{label})*", value):
        raise Invalid(f"invalid domain name {value!r}")
    return value


def domains(value: str) -> list[str]:
    return [domain(part.strip()) for part in value.split(",")]


def _interfaces(value: str) -> list[str]:
    return [interface_name(part.strip()) for part in value.split(",")]


def _ip(value: str) -> object:
    return address(6 if ":" in value else 4, value)


def _count(value: str) -> int:
    if not 0 <= (number := as_int(value)) <= 65535:
        raise Invalid(f"invalid number {number}: 0 to 65535 is expected")
    return number


TUNNEL: dict[str, Key] = {
    "protocol": Key("vxlan or gre", check=one_of("vxlan", "gre"), required=True),
    "local": Key("The host's address", "IP address", check=_ip),
    "remote": Key("The other host's address", "IP address", check=_ip),
    "group": Key("Multicast address of vxlan without remote", "IP address", "239.0.0.1", check=_ip),
    "id": integer("Number of the vxlan", "1"),
    "interface": Key("Interface for the multicast of vxlan", check=interface_name),
    "port": Key("Port of vxlan", "integer", "0", check=_count),
    "ttl": Key("How far the multicast of vxlan goes", "integer", "1", check=_count),
}
"""The keys tunnel.NAME.*, without that prefix."""

ACLS: dict[str, Key] = {
    "security.acls": text("ACLs that judge what guests send and receive, comma separated"),
    "security.acls.default.ingress.action": choice(
        "What happens to what guests receive and no rule speaks of", "allow", "reject", "drop", default="reject"
    ),
    "security.acls.default.egress.action": choice(
        "What happens to what guests send and no rule speaks of", "allow", "reject", "drop", default="reject"
    ),
}

BRIDGE: dict[str, Key] = {
    "bridge.external_interfaces": Key(
        "Interfaces of the host that join the bridge, comma separated; they have no addresses", check=_interfaces
    ),
    "bridge.hwaddr": Key("MAC address of the bridge", "MAC address", check=hwaddr),
    "bridge.mtu": Key("MTU of the bridge and of what is attached to it", "integer", "1500", check=mtu),
    "dns.domain": Key("Domain that guests' names are in", "string", "lxd", check=domain),
    "dns.mode": choice(
        "Who names guests in DNS: managed (their instance's name), dynamic (what they ask for), none",
        *("managed", "dynamic", "none"),
        default="managed",
    ),
    "dns.search": Key("Domains to search, comma separated", "string", "the value of dns.domain", check=domains),
    "dns.zone.forward": text("Zones that guests' names are in, comma separated"),
    "dns.zone.reverse.ipv4": text("Zone of the names of IPv4 addresses, such as 2.0.192.in-addr.arpa"),
    "dns.zone.reverse.ipv6": text("Zone of the names of IPv6 addresses, such as 8.b.d.0.1.0.0.2.ip6.arpa"),
    "ipv4.address": Key("Address of the bridge, CIDR; none, or auto for a free subnet", "CIDR", "auto", check=gateway4),
    "ipv4.dhcp": boolean("Whether to give addresses by DHCP", "true"),
    "ipv4.dhcp.expiry": Key("How long a lease lasts", "string", "1h", check=_expiry),
    "ipv4.dhcp.gateway": Key("Gateway that DHCP names", "IPv4 address", "ipv4.address", check=ipv4),
    "ipv4.dhcp.ranges": Key("Ranges to lease, FIRST-LAST, comma separated", "string", "all addresses", check=ranges4),
    "ipv4.firewall": boolean("Whether to make firewall rules for this network", "true"),
    "ipv4.nat": boolean("Whether to masquerade; true when ipv4.address is auto on creation"),
    "ipv4.nat.address": Key("Address that masqueraded packets come from", "IPv4 address", "the way out's", check=ipv4),
    "ipv4.nat.order": choice(
        "Whether the rules of NAT stand before or after others'", "before", "after", default="before"
    ),
    "ipv4.routes": Key(
        "More subnets that the host reaches by the bridge, comma separated", "IPv4 subnets", check=subnets4
    ),
    "ipv4.routing": boolean("Whether to route traffic in and out of the bridge", "true"),
    "ipv6.address": Key("Address of the bridge, CIDR; none, or auto for a free subnet", "CIDR", "auto", check=gateway6),
    "ipv6.dhcp": boolean("Whether to give information by DHCPv6", "true"),
    "ipv6.dhcp.expiry": Key("How long a lease lasts", "string", "1h", check=_expiry),
    "ipv6.dhcp.ranges": Key("Ranges to lease when stateful, FIRST-LAST, comma separated", "string", check=ranges6),
    "ipv6.dhcp.stateful": boolean("Whether addresses are given by DHCPv6 instead of made by guests (SLAAC)"),
    "ipv6.firewall": boolean("Whether to make firewall rules for this network", "true"),
    "ipv6.nat": boolean("Whether to masquerade; true when ipv6.address is auto on creation"),
    "ipv6.nat.address": Key("Address that masqueraded packets come from", "IPv6 address", "the way out's", check=ipv6),
    "ipv6.nat.order": choice(
        "Whether the rules of NAT stand before or after others'", "before", "after", default="before"
    ),
    "ipv6.routes": Key(
        "More subnets that the host reaches by the bridge, comma separated", "IPv6 subnets", check=subnets6
    ),
    "ipv6.routing": boolean("Whether to route traffic in and out of the bridge", "true"),
    "raw.dnsmasq": text("Lines for dnsmasq's configuration file"),
    "security.acls.default.ingress.logged": boolean(
        "Whether the kernel logs what guests receive and no rule speaks of"
    ),
    "security.acls.default.egress.logged": boolean("Whether the kernel logs what guests send and no rule speaks of"),
}
BRIDGE |= ACLS

MACVLAN: dict[str, Key] = {
    "parent": Key("The interface of the host", check=interface_name, required=True),
    "mtu": Key("MTU of the interface", "integer", check=mtu),
}

PHYSICAL: dict[str, Key] = dict(MACVLAN)
