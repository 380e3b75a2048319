"""The nftables table of a bridge: lets its DHCP, DNS and traffic through, and masquerades what leaves its subnets."""

from ipaddress import IPv4Interface, IPv6Interface

from hutch.kernel import nft
from hutch.schema.base import Config
from hutch.schema.keys.base import as_bool

# Router, neighbour and multicast listener discovery, without which IPv6 does not work, and echo.
_ICMPV6 = [1, 2, 3, 4, 128, 129, 130, 131, 132, 133, 134, 135, 136, 143]
_ICMP = [3, 8, 11, 12]


def table_name(network: str) -> str:
    return f"hutch_{network}"


def wanted(network: str, config: Config, ipv4: IPv4Interface | None, ipv6: IPv6Interface | None) -> nft.Table | None:
    """The table that the settings ask for; None when no rule is needed."""
    table = nft.Table(table_name(network))
    after = "after" in (config.get("ipv4.nat.order"), config.get("ipv6.nat.order"))
    table.chain("pstrt", hook="postrouting", kind="nat", priority=101 if after else 100)
    for chain, hook in (("fwd", "forward"), ("in", "input"), ("out", "output")):
        table.chain(chain, hook=hook)
    needed = False
    for version, gateway in ((4, ipv4), (6, ipv6)):
        if gateway is None:
            continue
        if as_bool(config.get(f"ipv{version}.firewall"), True):
            _access(table, network, version)
            _forwarding(table, network, version, as_bool(config.get(f"ipv{version}.routing"), True))
            needed = True
        if as_bool(config.get(f"ipv{version}.nat")):
            _masquerade(table, network, gateway, config.get(f"ipv{version}.nat.address", ""))
            needed = True
    return table if needed else None


def _family(version: int) -> nft.Statement:
    return nft.meta("nfproto", f"ipv{version}")


def _access(table: nft.Table, network: str, version: int) -> None:
    """DHCP, DNS and ICMP between the bridge and its guests."""
    server = 67 if version == 4 else 547
    for chain, direction, end in (("in", "iifname", "dport"), ("out", "oifname", "sport")):
        here = (_family(version), nft.meta(direction, network))
        table.rule(chain, *here, nft.field("tcp", end, 53), nft.ACCEPT)
        table.rule(chain, *here, nft.field("udp", end, [53, server]), nft.ACCEPT)
        protocol, types = ("icmp", _ICMP) if version == 4 else ("icmpv6", _ICMPV6)
        table.rule(chain, *here, nft.field(protocol, "type", types), nft.ACCEPT)


def _forwarding(table: nft.Table, network: str, version: int, allowed: bool) -> None:
    verdict = nft.ACCEPT if allowed else nft.REJECT
    for direction in ("iifname", "oifname"):
        table.rule("fwd", _family(version), nft.meta(direction, network), verdict)


def _masquerade(table: nft.Table, network: str, gateway: IPv4Interface | IPv6Interface, address: str) -> None:
    protocol = "ip" if gateway.version == 4 else "ip6"
    subnet = nft.prefix(str(gateway.network.network_address), gateway.network.prefixlen)
    table.rule(
        "pstrt",
        # The kernel may show bridged packets to these rules too; between guests nothing is rewritten.
        nft.match({"meta": {"key": "oifname"}}, network, "!="),
        nft.field(protocol, "saddr", subnet),
        nft.field(protocol, "daddr", subnet, "!="),
        nft.sent_from(protocol, address) if address else nft.MASQUERADE,
    )
