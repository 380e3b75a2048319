"""The command line of dnsmasq."""

from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

import pytest

from hutch.network import dnsmasq
from hutch.schema.base import Config

IPV4, IPV6 = IPv4Interface("10.1.2.1/24"), IPv6Interface("fd42::1/64")


def words(config: Config, ipv4: IPv4Interface | None = IPV4, ipv6: IPv6Interface | None = IPV6) -> list[str]:
    return dnsmasq.arguments("br0", config, ipv4, ipv6)


def ranges(config: Config) -> list[str]:
    return [word.partition("=")[2] for word in words(config) if word.startswith("--dhcp-range=")]


def test_by_default_all_addresses_are_leased_and_ipv6_is_made_by_guests() -> None:
    assert ranges({}) == ["10.1.2.1,10.1.2.254,1h", "::,constructor:br0,ra-stateless,ra-names"]


def test_ranges_and_lease_times_are_the_settings() -> None:
    config = {"ipv4.dhcp.ranges": "10.1.2.5-10.1.2.9, 10.1.2.50-10.1.2.60", "ipv4.dhcp.expiry": "2d"}
    assert ranges(config)[:2] == ["10.1.2.5,10.1.2.9,2d", "10.1.2.50,10.1.2.60,2d"]


def test_stateful_ipv6_is_leased_from_the_subnet() -> None:
    assert ranges({"ipv6.dhcp.stateful": "true"})[1] == "fd42::2,fd42::ffff:ffff:ffff:ffff,64,1h"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_dhcp_can_be_switched_off(family: str) -> None:
    off = ranges({f"{family}.dhcp": "false"})
    expected = {
        "ipv4": ["::,constructor:br0,ra-stateless,ra-names"],
        "ipv6": ["10.1.2.1,10.1.2.254,1h", "::,constructor:br0,ra-only"],
    }
    assert off == expected[family]


def test_a_family_without_address_is_not_served() -> None:
    only4, only6 = words({}, ipv6=None), words({}, ipv4=None)
    assert "--enable-ra" not in only4
    assert "--listen-address=fd42::1" not in only4
    assert not [word for word in only6 if "10.1.2" in word]


def test_guests_are_told_gateway_mtu_and_search_domains() -> None:
    config = {"ipv4.dhcp.gateway": "10.1.2.9", "bridge.mtu": "1400", "dns.search": "a.test, b.test"}
    options = {word for word in words(config) if word.startswith("--dhcp-option-force")}
    assert options == {
        "--dhcp-option-force=3,10.1.2.9",
        "--dhcp-option-force=26,1400",
        "--dhcp-option-force=119,a.test,b.test",
    }


def test_names_are_in_the_networks_domain_and_not_asked_for_elsewhere() -> None:
    assert {"--domain=lxd", "--server=/lxd/"} <= set(words({}))
    assert {"--domain=x.test", "--server=/x.test/"} <= set(words({"dns.domain": "x.test"}))
    quiet = words({"dns.mode": "none"})
    assert "--dhcp-ignore-names" in quiet
    assert not [word for word in quiet if "ra-names" in word]


def test_resolvers_on_a_loopback_address_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# x\nnameserver 127.0.0.53\nnameserver 192.0.2.1\noptions edns0\nnameserver ::1\nnameserver fe80::1%eth0\n"
    )
    assert dnsmasq.nameservers(path) == ["192.0.2.1", "fe80::1%eth0"]
    assert dnsmasq.nameservers(tmp_path / "none") == []
