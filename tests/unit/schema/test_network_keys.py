"""Values of networks' and nics' keys."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.errors import Invalid
from hutch.schema.keys import devices, network
from hutch.schema.keys.base import check_all

ADDRESSES4, ADDRESSES6 = st.ip_addresses(v=4), st.ip_addresses(v=6)


@given(ADDRESSES4, ADDRESSES4)
def test_a_range_is_taken_in_order_only(first: ipaddress.IPv4Address, last: ipaddress.IPv4Address) -> None:
    text = f"{first}-{last}"
    if first <= last:
        assert network.ranges4(text) == [(str(first), str(last))]
    else:
        with pytest.raises(Invalid, match="ends before it begins"):
            network.ranges4(text)


@given(ADDRESSES6, st.integers(0, 128))
def test_an_ipv6_gateway_is_a_host_of_a_subnet_with_room(address: ipaddress.IPv6Address, length: int) -> None:
    text = f"{address}/{length}"
    subnet = ipaddress.ip_interface(text).network
    fits = length <= 126 and address != subnet[0] and not address.is_multicast and not address.is_loopback
    try:
        assert network.gateway6(text) == text
        assert fits
    except Invalid:
        assert not fits


@given(st.text())
def test_no_text_is_taken_that_ip_could_misread(text: str) -> None:
    for check in (
        network.interface_name,
        network.hwaddr,
        network.domain,
        network.gateway4,
        network.mtu,
        devices.inside,
    ):
        try:
            check(text)
        except Invalid:
            continue
        assert text.isprintable()
        assert check is devices.inside or " " not in text


@pytest.mark.parametrize("value", ["90", "16385", " 1500", "1500 ", "\uff11\uff14\uff10\uff10", "-1500", "1e3", ""])
def test_an_mtu_is_a_plain_number_within_limits(value: str) -> None:
    with pytest.raises(Invalid, match="invalid MTU"):
        network.mtu(value)


@pytest.mark.parametrize("name", ["br0", "lxdbr0", "my-net_1.x", "ab", "a" * 15])
def test_names_that_an_interface_can_have(name: str) -> None:
    assert network.interface_name(name) == name


@pytest.mark.parametrize("name", ["", "a", "a" * 16, "a b", "a/b", "ü0", "..", "lo", "all", "default", "a\n"])
def test_names_that_it_cannot(name: str) -> None:
    with pytest.raises(Invalid, match="Network interface"):
        network.interface_name(name)


def test_a_wrong_value_is_reported_with_its_key() -> None:
    with pytest.raises(Invalid, match=r"network 'x': invalid value for ipv4\.address: not an IPv4 address in CIDR"):
        check_all("network 'x'", {"ipv4.address": "nonsense"}, network.BRIDGE)


@pytest.mark.parametrize("path", ["", "etc", "/a/../b", "/a/..", "../x", "/a\0b"])
def test_a_path_inside_an_instance_is_absolute_and_straight(path: str) -> None:
    with pytest.raises(Invalid):
        devices.inside(path)


def test_a_path_is_tidied() -> None:
    assert devices.inside("//srv//data/./x/") == "/srv/data/x"
