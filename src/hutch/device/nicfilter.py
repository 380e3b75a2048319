"""What a nic lets its guest send: an nftables table of the nic's own, hooked to the host's end alone, before any bridge.

Nothing but the nic's own packets passes its rules, whatever the number of nics on the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from hutch.kernel import nft

FAMILY = "netdev"
_FIRST = -500
_ND = [133, 134, 135, 136, 137]
_BURST = 256 * 1024


@dataclass(frozen=True)
class Allowed:
    """`hwaddr` empty: any; `ipv4`, `ipv6` None: any, otherwise the only sources (addresses or subnets; none: no packet at all).

    `rate` in bits a second (0: no limit), `priority` 0 to 10 for the host's queues (empty: as it comes).
    """

    hwaddr: str = ""
    ipv4: Sequence[str] | None = None
    ipv6: Sequence[str] | None = None
    rate: int = 0
    priority: str = ""


def name(link: str) -> str:
    return f"hutch_{link}"


def table(link: str, allowed: Allowed) -> nft.Table | None:
    """The table of a nic; None when it may send whatever it likes."""
    if allowed == Allowed():
        return None
    made = nft.Table(name(link), FAMILY)
    made.chain("from", hook="ingress", priority=_FIRST, device=link)
    if allowed.ipv6:
        _advertised(made, allowed.ipv6)
    if allowed.hwaddr:
        _hwaddr(made, allowed.hwaddr)
    if allowed.ipv4 is not None:
        _ipv4(made, allowed.ipv4)
    if allowed.ipv6 is not None:
        _ipv6(made, allowed.ipv6)
    if allowed.ipv4 is not None or allowed.ipv6 is not None:
        # What is in a tagged frame is not looked at.
        made.rule("from", nft.field("ether", "type", ["8021q", "8021ad"]), nft.DROP)
    if allowed.ipv4 is not None and allowed.ipv6 is not None:
        made.rule("from", nft.field("ether", "type", ["arp", "ip", "ip6"], "!="), nft.DROP)
    if allowed.rate:
        made.rule("from", _over(allowed.rate), nft.DROP)
    if allowed.priority:
        made.rule("from", {"mangle": {"key": {"meta": {"key": "priority"}}, "value": f"0:{allowed.priority}"}})
    return made


def _over(rate: int) -> nft.Statement:
    burst = max(_BURST, rate // 80)
    limit = {"rate": rate // 8, "per": "second", "rate_unit": "bytes", "burst": burst, "burst_unit": "bytes"}
    return {"limit": limit | {"inv": True}}


def _hwaddr(made: nft.Table, hwaddr: str) -> None:
    made.rule("from", nft.field("ether", "saddr", hwaddr, "!="), nft.DROP)
    made.rule("from", nft.field("arp", "saddr ether", hwaddr, "!="), nft.DROP)
    # Neighbour discovery behind extension headers, or with more than one option, is not looked into.
    made.rule("from", nft.field("icmpv6", "type", _ND), nft.field("ip6", "nexthdr", "ipv6-icmp", "!="), nft.DROP)
    number = int(hwaddr.replace(":", ""), 16)
    for kind, length, offset in ((136, 24, 26), (135, 24, 26), (133, 8, 10)):
        this = nft.field("icmpv6", "type", kind)
        made.rule("from", this, nft.field("ip6", "length", [length, length + 8], "!="), nft.DROP)
        other = (
            [nft.match(_raw(length * 8, 8), 14, "!=")] if kind == 135 else []
        )  # a nonce stands where the address would
        with_option = nft.field("ip6", "length", length + 8)
        made.rule("from", this, with_option, *other, nft.match(_raw(offset * 8, 48), number, "!="), nft.DROP)


def _ipv4(made: nft.Table, sources: Sequence[str]) -> None:
    if not sources:
        made.rule("from", nft.field("ether", "type", ["arp", "ip"]), nft.DROP)
        return
    wanted = _set(sources)
    made.rule("from", nft.field("arp", "saddr ip", ["0.0.0.0", *wanted], "!="), nft.DROP)
    discover = (nft.field("ip", "saddr", "0.0.0.0"), nft.field("ip", "daddr", "255.255.255.255"))
    made.rule("from", *discover, nft.field("udp", "dport", 67), nft.ACCEPT)
    made.rule("from", nft.field("ip", "saddr", wanted, "!="), nft.DROP)


def _ipv6(made: nft.Table, sources: Sequence[str]) -> None:
    if not sources:
        made.rule("from", nft.field("ether", "type", "ip6"), nft.DROP)
        return
    near = nft.field("ip6", "saddr", nft.prefix("fe80::", 10))
    made.rule("from", nft.field("icmpv6", "type", [134, 137]), nft.DROP)
    made.rule("from", nft.field("icmpv6", "type", 136), {"jump": {"target": "advertised"}})
    made.rule(
        "from", nft.field("ip6", "saddr", "::"), nft.field("icmpv6", "type", [131, 132, 133, 135, 143]), nft.ACCEPT
    )
    made.rule("from", near, nft.field("udp", "dport", 547), nft.ACCEPT)
    made.rule("from", near, nft.field("icmpv6", "type", list(range(128, 144))), nft.ACCEPT)
    made.rule("from", nft.field("ip6", "saddr", _set(sources), "!="), nft.DROP)


def _advertised(made: nft.Table, sources: Sequence[str]) -> None:
    """Addresses that the guest may say are its own."""
    made.subchain("advertised")
    for source in ["fe80::/10", *sources]:
        made.rule("advertised", *_begins(ip_network(source, strict=False)), {"return": None})
    made.rule("advertised", nft.DROP)


def _begins(subnet: IPv4Network | IPv6Network) -> list[nft.Statement]:
    """That the address in the message is of the subnet; in pieces, for nft's JSON has no numbers of 128 bits."""
    found = []
    for at in range(0, subnet.prefixlen, 32):
        length = min(32, subnet.prefixlen - at)
        bits = int(subnet.network_address) >> (128 - at - length) & ((1 << length) - 1)
        found.append(nft.match(_raw(64 + at, length), bits))
    return found


def _raw(offset: int, length: int) -> nft.Statement:
    """Bits of the transport header."""
    return {"payload": {"base": "th", "offset": offset, "len": length}}


def _set(sources: Sequence[str]) -> list[Any]:
    found = []
    for source in sources:
        subnet = ip_network(source, strict=False)
        alone = subnet.prefixlen == subnet.max_prefixlen
        found.append(
            str(subnet.network_address) if alone else nft.prefix(str(subnet.network_address), subnet.prefixlen)
        )
    return found
