"""The rules that a network's settings ask for."""

import json
from ipaddress import IPv4Interface, IPv6Interface

import pytest

from hutch.network import firewall
from hutch.schema.base import Config

IPV4, IPV6 = IPv4Interface("10.1.2.1/24"), IPv6Interface("fd42::1/64")


def rules(config: Config) -> str:
    table = firewall.wanted("br0", config, IPV4, IPV6)
    return "" if table is None else json.dumps(table._objects)


def test_every_object_is_in_the_networks_own_table() -> None:
    table = firewall.wanted("br0", {"ipv4.nat": "true"}, IPV4, IPV6)
    assert table is not None
    owners = {next(iter(entry["add"].values()))["table"] for entry in table._objects}
    assert owners == {"hutch_br0"}


@pytest.mark.parametrize(("family", "subnet"), [("ipv4", "10.1.2.0"), ("ipv6", "fd42::")])
def test_nat_masquerades_what_leaves_the_subnet(family: str, subnet: str) -> None:
    assert "masquerade" not in rules({})
    wanted = rules({f"{family}.nat": "true"})
    assert wanted.count("masquerade") == 1
    assert subnet in wanted


def test_forbidden_routing_rejects() -> None:
    assert "reject" not in rules({})
    assert rules({"ipv4.routing": "false"}).count("reject") == 2


def test_no_table_without_firewall_and_nat() -> None:
    assert firewall.wanted("br0", {"ipv4.firewall": "false", "ipv6.firewall": "false"}, IPV4, IPV6) is None
    assert firewall.wanted("br0", {}, None, None) is None
    assert "accept" not in rules({"ipv4.firewall": "false", "ipv6.firewall": "false", "ipv4.nat": "true"}).replace(
        '"policy": "accept"', ""
    )
