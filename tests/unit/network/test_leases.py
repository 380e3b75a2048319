"""Leases: dnsmasq's file, what a network answers, and the packets that give them back."""

from ipaddress import IPv6Network
from pathlib import Path

from hutch.network import leases
from hutch.network.base import Lease, Reservation

FILE = """\
1795477208 00:16:3e:aa:bb:cc 10.1.2.92 first 01:00:16:3e:aa:bb:cc
1795477209 00:16:3e:00:00:01 10.1.2.93 * *
duid 00:01:00:01:32:97:7d:47:00:16:3e:d8:a8:bc
1795477210 T1234 fd42::5 first 00:03:00:01:00:16:3e:aa:bb:cc
1795477211 99 fd42::6 second 00:02:00:00:ab:11:4a:7e
broken
"""
SLAAC = IPv6Network("fd42::/64")
FIRST = Reservation("default", "first", "eth0", "00:16:3e:aa:bb:cc")
SECOND = Reservation("default", "second", "eth0", "00:16:3e:00:00:02", ipv4="10.1.2.50")


def written(folder: Path) -> Path:
    path = folder / "dnsmasq.leases"
    path.write_text(FILE)
    return path


def test_the_file_is_read_by_family(tmp_path: Path) -> None:
    found = leases.given(written(tmp_path))
    assert [entry.address for entry in found] == ["10.1.2.92", "10.1.2.93", "fd42::5", "fd42::6"]
    assert [entry.hostname for entry in found] == ["first", "", "first", "second"]
    assert found[2].iaid == 1234
    assert leases.server_id(tmp_path / "dnsmasq.leases") == "00:01:00:01:32:97:7d:47:00:16:3e:d8:a8:bc"


def test_no_file_is_no_lease(tmp_path: Path) -> None:
    assert leases.given(tmp_path / "none") == []
    assert leases.server_id(tmp_path / "none") == ""


def test_an_ipv6_lease_is_matched_by_duid_name_or_fixed_address(tmp_path: Path) -> None:
    _, _, by_duid, by_name = leases.given(written(tmp_path))
    assert by_duid.belongs_to(FIRST, named=False)
    assert not by_name.belongs_to(SECOND, named=False)
    assert by_name.belongs_to(SECOND, named=True)
    fixed = Reservation("default", "third", "eth0", "00:16:3e:00:00:03", ipv6="fd42::6")
    assert by_name.belongs_to(fixed, named=False)
    elsewhere = Reservation("other", "second", "eth0", "00:16:3e:00:00:04")
    assert not by_name.belongs_to(elsewhere, named=True)


def test_eui64_follows_the_rfc() -> None:
    assert leases.eui64(SLAAC, "00:16:3e:aa:bb:cc") == "fd42::216:3eff:feaa:bbcc"


def test_a_network_answers_fixed_leased_and_self_made_addresses(tmp_path: Path) -> None:
    seen = [("fd42::abcd", "00:16:3e:00:00:02"), ("fe80::1", "00:16:3e:00:00:02"), ("fd42::1:1", "00:16:3e:ff:ff:ff")]
    given = leases.given(written(tmp_path))
    found = leases.of_guests([FIRST, SECOND], given, seen, slaac=SLAAC, named=True)
    assert found == [
        Lease("first", FIRST.hwaddr, "fd42::216:3eff:feaa:bbcc", "dynamic"),
        Lease("second", SECOND.hwaddr, "10.1.2.50", "static"),
        Lease("second", SECOND.hwaddr, "fd42::216:3eff:fe00:2", "dynamic"),
        Lease("first", FIRST.hwaddr, "10.1.2.92", "dynamic"),
        Lease("", "00:16:3e:00:00:01", "10.1.2.93", "dynamic"),
        Lease("first", FIRST.hwaddr, "fd42::5", "dynamic"),
        Lease("second", SECOND.hwaddr, "fd42::6", "dynamic"),
        Lease("second", SECOND.hwaddr, "fd42::abcd", "dynamic"),
    ]


def test_a_lease_that_is_fixed_is_listed_once() -> None:
    given = [leases.Given("10.1.2.50", "second", SECOND.hwaddr, "")]
    found = leases.of_guests([SECOND], given, [], slaac=None, named=True)
    assert found == [Lease("second", SECOND.hwaddr, "10.1.2.50", "static")]
