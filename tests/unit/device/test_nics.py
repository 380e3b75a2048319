"""Nics: which driver, which names and addresses, which settings are refused. Networks are described, not running."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from hutch.device import load
from hutch.device.base import Context, Device
from hutch.device.drivers import disk, nic_bridged, nic_p2p, none
from hutch.device.moved import free_name
from hutch.device.veth import VethNic
from hutch.errors import Invalid, NotFound
from hutch.network.drivers.bridge import Driver as Bridge
from hutch.schema.base import Config

BRIDGE = {"ipv4.address": "10.1.2.1/24", "ipv6.address": "fd42::1/64", "ipv6.dhcp.stateful": "true"}


def surroundings(config: Config | None = None, **networks: Config) -> Context:
    made = {name: Bridge(name, Path("/nowhere"), settings) for name, settings in networks.items()}
    return load.context(Path("/nowhere"), "default", "first", config or {}, made, {})


def nic(settings: Mapping[str, str], context: Context) -> VethNic:
    made = load.device("eth0", {"type": "nic", **settings}, context)
    assert isinstance(made, VethNic)
    return made


@pytest.mark.parametrize(
    ("settings", "driver"),
    [
        ({"type": "nic", "network": "br0"}, nic_bridged.Driver),
        ({"type": "nic", "nictype": "bridged", "parent": "x0"}, nic_bridged.Driver),
        ({"type": "nic", "nictype": "p2p"}, nic_p2p.Driver),
        ({"type": "none"}, none.Driver),
        ({"type": "disk", "path": "/", "pool": "p"}, disk.Driver),
    ],
)
def test_the_driver_goes_by_type_and_nictype_or_network(settings: Config, driver: type[Device]) -> None:
    assert isinstance(load.device("eth0", settings, surroundings(br0=BRIDGE)), driver)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "Missing device type"),
        ({"type": "teapot"}, "Unsupported device type 'teapot'"),
        ({"type": "nic"}, "needs the key network, or nictype"),
        ({"type": "nic", "nictype": "wireless"}, "Unsupported device type 'nic-wireless'"),
        ({"type": "nic", "network": "br0", "hwadr": "x"}, "did you mean hwaddr"),
        ({"type": "nic", "network": "br0", "mtu": "9"}, "between 1280"),
        ({"type": "nic", "network": "br0", "hwaddr": "zz"}, "invalid MAC address"),
        ({"type": "nic", "network": "br0", "name": "much-too-long-name"}, "too long"),
        ({"type": "nic", "network": "br0", "parent": "br1"}, "in conjunction"),
        ({"type": "nic", "nictype": "bridged"}, "parent, or network, is required"),
        (
            {"type": "nic", "nictype": "bridged", "parent": "x0", "ipv4.address": "10.1.2.5"},
            "only be given on a managed",
        ),
        ({"type": "nic", "network": "br0", "ipv4.address": "10.9.9.9"}, "is not for guests"),
        ({"type": "nic", "network": "slaac", "ipv6.address": "fd42::5"}, "DHCP or ipv6.dhcp.stateful is disabled"),
    ],
)
def test_what_does_not_fit_is_refused(settings: Config, reason: str) -> None:
    context = surroundings(br0=BRIDGE, slaac={"ipv6.address": "fd42::1/64"})
    with pytest.raises(Invalid, match=reason):
        load.device("eth0", settings, context).check()


def test_an_unknown_network_is_not_found() -> None:
    with pytest.raises(NotFound, match="Network 'nowhere' not found"):
        nic({"network": "nowhere"}, surroundings())


def test_a_managed_bridge_may_be_named_as_parent() -> None:
    nic({"nictype": "bridged", "parent": "br0", "ipv4.address": "10.1.2.5"}, surroundings(br0=BRIDGE)).check()


def test_what_is_chosen_once_is_kept() -> None:
    first = nic({"nictype": "p2p"}, surroundings()).volatile()
    assert first["hwaddr"].startswith("00:16:3e:")
    assert len(first["host_name"]) == 12
    recorded = {f"volatile.eth0.{key}": value for key, value in first.items()}
    assert nic({"nictype": "p2p"}, surroundings(recorded)).volatile() == first
    assert nic({"nictype": "p2p"}, surroundings()).volatile() != first


def test_settings_go_before_what_is_recorded() -> None:
    recorded = {"volatile.eth0.hwaddr": "00:16:3e:00:00:01", "volatile.eth0.host_name": "veth00000001"}
    wanted = nic({"nictype": "p2p", "hwaddr": "00:16:3E:00:00:02", "host_name": "mine0"}, surroundings(recorded))
    assert wanted.volatile() == {"hwaddr": "00:16:3e:00:00:02", "host_name": "mine0"}


def test_a_nic_without_name_takes_the_first_that_is_free() -> None:
    unnamed, named = nic({"nictype": "p2p"}, surroundings()), nic({"nictype": "p2p", "name": "lan0"}, surroundings())
    assert free_name(unnamed, {"lo"}) == "eth0"
    assert free_name(unnamed, {"lo", "eth0", "eth2"}) == "eth1"
    assert free_name(named, {"eth0"}) == "lan0"
    with pytest.raises(Invalid, match="an interface called 'lan0' already"):
        free_name(named, {"lan0"})
