"""Reservations on disk."""

from dataclasses import replace
from pathlib import Path

import pytest

from hutch.errors import Conflict
from hutch.network import reservations
from hutch.network.base import Reservation

ONE = Reservation("default", "first", "eth0", "00:16:3E:AA:BB:CC", ipv4="10.1.2.5", ipv6="fd42::5")


def test_dnsmasq_is_told_address_and_name() -> None:
    assert reservations.line(ONE, named=True) == "00:16:3e:aa:bb:cc,10.1.2.5,[fd42::5],first"
    assert reservations.line(ONE, named=False) == "00:16:3e:aa:bb:cc,10.1.2.5,[fd42::5]"
    assert reservations.line(replace(ONE, ipv4="", ipv6=""), named=False) == ""


def test_an_instance_of_a_project_is_named_below_it() -> None:
    assert reservations.dns_name("default", "first") == "first"
    assert reservations.dns_name("blue", "first") == "first.blue"


def test_a_reservation_is_written_once_read_and_removed(tmp_path: Path) -> None:
    folder = tmp_path / "hosts"
    assert reservations.save(folder, ONE, named=True)
    assert not reservations.save(folder, ONE, named=True)
    assert reservations.save(folder, ONE, named=False)
    assert list(reservations.load(folder).values()) == [ONE]
    assert reservations.remove(folder, "default", "first", "eth0") == ONE
    assert reservations.remove(folder, "default", "first", "eth0") is None
    assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == [folder]


def test_odd_names_stay_inside_the_folder_and_apart(tmp_path: Path) -> None:
    odd = [
        replace(ONE, project="../x", device="a/b", hwaddr="00:16:3e:00:00:01", ipv4="", ipv6=""),
        replace(ONE, project="..", device="x,a/b", hwaddr="00:16:3e:00:00:02", ipv4="", ipv6=""),
    ]
    for entry in odd:
        assert reservations.save(tmp_path / "hosts", entry, named=True)
    names = {path.name for path in (tmp_path / "hosts").iterdir()}
    assert names == {"first,..%2Fx,a%2Fb", "first,..,x%2Ca%2Fb"}


@pytest.mark.parametrize("key", ["hwaddr", "ipv4", "ipv6"])
def test_two_nics_cannot_have_one_address(tmp_path: Path, key: str) -> None:
    reservations.save(tmp_path, ONE, named=True)
    other = Reservation("default", "second", "eth0", "00:16:3e:00:00:02", ipv4="10.1.2.6", ipv6="fd42::6")
    with pytest.raises(Conflict, match="already used by device 'eth0' of instance 'first' in project 'default'"):
        reservations.save(tmp_path, replace(other, **{key: getattr(ONE, key)}), named=True)
    assert reservations.save(tmp_path, other, named=True)
