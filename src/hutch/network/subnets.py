"""Chooses subnets that nothing on the host or among the managed networks uses."""

import random
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network

from hutch.errors import Invalid
from hutch.kernel import ip
from hutch.kernel.ip import Network
from hutch.schema.base import Config

_TRIES = 200


async def taken(name: str, others: Iterable[Config]) -> list[tuple[Network, str]]:
    """What is in use, with where, apart from what the interface `name` has: routes, addresses, other networks' settings."""
    found: list[tuple[Network, str]] = []
    for link in await ip.interfaces():
        if link.name != name:
            found += [(ip_network(str(item), strict=False), f"interface {link.name}") for item in link.addresses]
    for family in (4, 6):
        found += [
            (route.destination, f"a route by {route.interface or 'no interface'}")
            for route in await ip.routes(family)
            if route.interface != name
        ]
    found += [(subnet, "another managed network") for config in others for subnet in subnets(config)]
    return found


def subnets(config: Config) -> Iterator[Network]:
    """The subnets that a network's settings name."""
    for key in ("ipv4.address", "ipv6.address"):
        if config.get(key, "none") not in ("", "none", "auto"):
            yield ip_interface(config[key]).network


def conflict(wanted: Network, used: Iterable[tuple[Network, str]]) -> str:
    """Who uses a part of `wanted`; empty when nobody does."""
    for network, where in used:
        if network.version == wanted.version and network.overlaps(wanted):
            return f"{where} ({network})"
    return ""


def free(version: int, used: Iterable[tuple[Network, str]]) -> str:
    """The gateway's address, CIDR, in a free subnet: /24 out of the private ones, or /64 out of fd42::/16."""
    used = list(used)
    for candidate in _candidates4() if version == 4 else _candidates6():
        if not conflict(candidate, used):
            return f"{candidate[1]}/{candidate.prefixlen}"
    raise Invalid(f"no free IPv{version} subnet was found: give ipv{version}.address, or none")


def address(network: Network, used: Collection[str], seed: str) -> str:
    """An address of the network that nobody uses; the same `seed` looks in the same places first."""
    last = network.num_addresses - 2
    picks = random.Random(seed)
    for _ in range(_TRIES):
        found = str(network[picks.randint(1, last)])
        if found not in used:
            return found
    raise Invalid(f"no free address was found in {network}: give the nic's address")


def _candidates4() -> Iterator[Network]:
    """10.x.y.0/24 at random; the other private ranges for a host whose routes cover all of 10.0.0.0/8."""
    pools = [IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16")]
    for pool in pools:
        for _ in range(_TRIES):
            third = random.randrange(pool.num_addresses // 256)
            yield IPv4Network((int(pool.network_address) + third * 256, 24))


def _candidates6() -> Iterator[Network]:
    for _ in range(_TRIES):
        yield IPv6Network((0xFD42 << 112 | random.getrandbits(48) << 64, 64))
