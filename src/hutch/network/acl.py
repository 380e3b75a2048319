"""The nftables table of a bridge's ACLs: judges what its guests send and receive, routed or from port to port.

A packet between two guests is judged twice: as what the one sends and as what the other receives. To be allowed is to return from
a chain; answers to what was allowed pass.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from hutch.kernel import nft
from hutch.kernel.ip import Network
from hutch.schema.acl import AclRecord, AclRule

_ORDER = {"drop": 0, "reject": 1, "allow": 2}
_DISCOVERY = [133, 134, 135, 136, 143, 130, 131, 132]
_ESTABLISHED: nft.Statement = {
    "match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}
}


@dataclass(frozen=True)
class Policy:
    """The ACLs that apply, and what happens to what no rule of theirs speaks of."""

    acls: tuple[str, ...] = ()
    ingress: str = "reject"
    egress: str = "reject"
    log_ingress: bool = False
    log_egress: bool = False


@dataclass(frozen=True)
class Subject:
    """A nic with ACLs of its own, by its addresses."""

    addresses: tuple[str, ...]
    policy: Policy


@dataclass(frozen=True)
class Surroundings:
    """What names in rules stand for: every ACL, the network's subnets, and the addresses of those that have an ACL."""

    acls: Mapping[str, AclRecord]
    subnets: Sequence[Network]
    groups: Mapping[str, Sequence[str]]


def table_name(network: str) -> str:
    return f"hutch_{network}/acl"


def table(network: str, whole: Policy, nics: Sequence[Subject], known: Surroundings) -> nft.Table | None:
    """None when nothing is to be judged."""
    if not whole.acls and not nics:
        return None
    made = nft.Table(table_name(network))
    for direction in ("egress", "ingress"):
        made.subchain(direction)
        for number in range(len(nics)):
            made.subchain(f"{direction}{number}")
    for name, hook in (("fwd", "forward"), ("in", "input"), ("out", "output")):
        made.chain(name, hook=hook)
        made.rule(name, _ESTABLISHED, nft.ACCEPT)
    for chain, way, port in (("in", "iifname", "dport"), ("out", "oifname", "sport")):
        here = nft.meta(way, network)
        made.rule(chain, here, nft.field("udp", port, [53, 67, 547]), nft.ACCEPT)
        made.rule(chain, here, nft.field("tcp", port, 53), nft.ACCEPT)
    for chain in ("in", "out", "fwd"):
        way = "oifname" if chain == "out" else "iifname"
        made.rule(chain, nft.meta(way, network), nft.field("icmpv6", "type", _DISCOVERY), nft.ACCEPT)
    for chain, way, direction in (
        *(("fwd", "iifname", "egress"), ("fwd", "oifname", "ingress")),
        *(("in", "iifname", "egress"), ("out", "oifname", "ingress")),
    ):
        made.rule(chain, nft.meta(way, network), {"jump": {"target": direction}})
    for direction, side in (("egress", "saddr"), ("ingress", "daddr")):
        for number, nic in enumerate(nics):
            _rules(made, f"{direction}{number}", direction, nic.policy, known)
            for family, addresses in _families(nic.addresses).items():
                for verdict in ({"jump": {"target": f"{direction}{number}"}}, {"return": None}):
                    made.rule(direction, nft.field(family, side, addresses), verdict)
        if whole.acls:
            _rules(made, direction, direction, whole, known)
    return made


def _rules(made: nft.Table, chain: str, direction: str, policy: Policy, known: Surroundings) -> None:
    rules = [
        (name, rule)
        for name in policy.acls
        if name in known.acls
        for rule in (known.acls[name].egress if direction == "egress" else known.acls[name].ingress)
        if rule.state != "disabled"
    ]
    for name, rule in sorted(rules, key=lambda item: _ORDER[item[1].action]):
        log = [_log(name)] if rule.state == "logged" else []
        for statements in matches(rule, known):
            made.rule(chain, *statements, *log, _verdict(rule.action))
    default = policy.egress if direction == "egress" else policy.ingress
    logged = policy.log_egress if direction == "egress" else policy.log_ingress
    made.rule(chain, *([_log("default")] if logged else []), _verdict(default))


def _log(name: str) -> nft.Statement:
    return {"log": {"prefix": f"hutch acl {name}: "[:127]}}


def _verdict(action: str) -> nft.Statement:
    return {"allow": {"return": None}, "reject": nft.REJECT, "drop": nft.DROP}[action]


def matches(rule: AclRule, known: Surroundings) -> Iterator[list[nft.Statement]]:
    """What a packet must be like, once for each family that the rule's addresses are of."""
    sides = [(side, value) for side, value in (("saddr", rule.source), ("daddr", rule.destination)) if value]
    if not sides:
        yield _protocol(rule)
        return
    for family in ("ip", "ip6"):
        if rule.protocol == ("icmp6" if family == "ip" else "icmp4"):
            continue
        found = [list(_addresses(family, side, value, known)) for side, value in sides]
        if all(found):
            yield from _products(found, _protocol(rule))


def _products(sides: list[list[nft.Statement]], rest: list[nft.Statement]) -> Iterator[list[nft.Statement]]:
    first, *more = sides
    for one in first:
        for other in more[0] if more else [None]:
            yield [one, *([other] if other is not None else []), *rest]


def _addresses(family: str, side: str, value: str, known: Surroundings) -> Iterator[nft.Statement]:
    own = [str(subnet) for subnet in known.subnets]
    inside: list[str] = []
    for word in (each.strip() for each in value.split(",")):
        if word in ("@external", "#external"):
            subnets = _families(own).get(family)
            if subnets:
                yield nft.field(family, side, subnets, "!=")
        elif word in ("@internal", "#internal"):
            inside += own
        elif word in known.acls:
            inside += known.groups.get(word, ())
        else:
            inside.append(word)
    if members := _families(inside).get(family):
        yield nft.field(family, side, members)


def _families(words: Sequence[str]) -> dict[str, list[Any]]:
    """Addresses, subnets and ranges as elements of a set, by family."""
    found: dict[str, list[Any]] = {}
    for word in words:
        first, dash, last = word.partition("-")
        if dash:
            family = "ip6" if ip_address(first).version == 6 else "ip"
            found.setdefault(family, []).append({"range": [first, last]})
            continue
        subnet = ip_network(word, strict=False)
        whole = subnet.prefixlen == subnet.max_prefixlen
        address = str(subnet.network_address)
        element = address if whole else nft.prefix(address, subnet.prefixlen)
        found.setdefault("ip6" if subnet.version == 6 else "ip", []).append(element)
    return found


def _protocol(rule: AclRule) -> list[nft.Statement]:
    if rule.protocol in ("icmp4", "icmp6"):
        name = "icmp" if rule.protocol == "icmp4" else "icmpv6"
        found = [nft.meta("l4proto", "icmp" if name == "icmp" else "ipv6-icmp")]
        found += [nft.field(name, "type", int(rule.icmp_type))] if rule.icmp_type else []
        return found + ([nft.field(name, "code", int(rule.icmp_code))] if rule.icmp_code else [])
    if not rule.protocol:
        return []
    found = [nft.meta("l4proto", rule.protocol)]
    for field, value in (("sport", rule.source_port), ("dport", rule.destination_port)):
        if value:
            found.append(nft.field(rule.protocol, field, [_port(part.strip()) for part in value.split(",")]))
    return found


def _port(word: str) -> Any:
    first, dash, last = word.partition("-")
    return {"range": [int(first), int(last)]} if dash else int(first)
