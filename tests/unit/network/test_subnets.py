"""Choosing free subnets."""

from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network

import pytest

from hutch.errors import Invalid
from hutch.kernel.ip import Network
from hutch.network import subnets


def used(*networks: str) -> list[tuple[Network, str]]:
    return [(ip_network(network), "a route") for network in networks]


def test_an_ipv4_subnet_is_a_private_24_with_the_gateway_first() -> None:
    chosen = IPv4Interface(subnets.free(4, used()))
    assert chosen.network.prefixlen == 24
    assert chosen.network.subnet_of(IPv4Network("10.0.0.0/8"))
    assert chosen.ip == chosen.network[1]


def test_an_ipv6_subnet_is_a_64_of_the_local_range() -> None:
    chosen = IPv6Interface(subnets.free(6, used()))
    assert chosen.network.prefixlen == 64
    assert chosen.network.subnet_of(IPv6Network("fd42::/16"))
    assert chosen.ip == chosen.network[1]


def test_what_is_in_use_is_avoided() -> None:
    taken = used("10.0.0.0/9", "10.128.0.0/10", "10.192.0.0/11", "fd42::/17")
    for _ in range(50):
        assert not subnets.conflict(IPv4Interface(subnets.free(4, taken)).network, taken)
        assert not subnets.conflict(IPv6Interface(subnets.free(6, taken)).network, taken)


def test_other_private_ranges_serve_when_the_first_is_full() -> None:
    chosen = IPv4Interface(subnets.free(4, used("10.0.0.0/8", "172.16.0.0/12")))
    assert chosen.network.subnet_of(IPv4Network("192.168.0.0/16"))


def test_no_free_subnet_is_an_error_with_the_remedy() -> None:
    with pytest.raises(Invalid, match=r"give ipv4\.address, or none"):
        subnets.free(4, used("0.0.0.0/1", "128.0.0.0/1"))


def test_a_conflict_names_who_is_there() -> None:
    assert subnets.conflict(ip_network("10.1.2.0/24"), used("10.0.0.0/8")) == "a route (10.0.0.0/8)"
    assert subnets.conflict(ip_network("10.1.2.0/24"), used("fd42::/16", "192.168.0.0/16")) == ""
