"""Managed bridges: what they give to guests, how they change, and what is left when they go."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from tests.hosts import ApiError, Host, wait_until
from tests.hosts.host import NETWORK


def config_of(host: Host, network: str = NETWORK) -> dict[str, str]:
    found: dict[str, str] = host.get(f"/1.0/networks/{network}")["config"]
    return found


def dnsmasq_of(host: Host, network: str = NETWORK) -> int:
    """The pid of the network's dnsmasq, which must be alive."""
    pid = int((host.directory / "networks" / network / "dnsmasq.pid").read_text())
    assert "dnsmasq" in Path(f"/proc/{pid}/cmdline").read_text()
    return pid


def leases_of(host: Host, name: str, network: str = NETWORK) -> dict[str, str]:
    """Address to type of what the network says about a guest."""
    found = host.get(f"/1.0/networks/{network}/leases")
    return {lease["address"]: lease["type"] for lease in found if lease["hostname"] == name}


def links(host: Host) -> set[str]:
    return {line.split(":")[1].strip().partition("@")[0] for line in host.run("ip", "-o", "link").stdout.splitlines()}


def tables(host: Host) -> set[str]:
    return set(host.run("nft", "list", "tables").stdout.split("\n")) - {""}


@pytest.fixture
def network(host: Host) -> Iterator[Callable[..., str]]:
    """Makes networks on the shared host (the arguments are config keys with _ for the dot); deleted after the test.

    To be asked for before `guest`: fixtures go in the opposite order.
    """
    names: list[str] = []

    def make(**config: str) -> str:
        name = f"net{len(names)}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        host.call("POST", "/1.0/networks", {"name": name, "config": settings})
        names.append(name)
        return name

    yield make
    for name in names:
        if host.api.exists(f"/1.0/networks/{name}"):
            host.call("DELETE", f"/1.0/networks/{name}")


def nic(network: str, **keys: str) -> dict[str, dict[str, str]]:
    settings = {key.replace("_", "."): value for key, value in keys.items()}
    return {"eth0": {"type": "nic", "network": network, "name": "eth0", **settings}}


def test_a_guest_gets_both_addresses_and_a_name(host: Host, guest: Callable[..., str]) -> None:
    first, second = guest(), guest()
    config = config_of(host)

    ipv4, ipv6 = host.address_of(first), host.address_of(first, "inet6")

    assert ip_address(ipv4) in ip_interface(config["ipv4.address"]).network
    assert ip_address(ipv6) in ip_interface(config["ipv6.address"]).network
    host.address_of(second)
    for name in (first, f"{first}.lxd"):
        answer = host.exec(second, "nslookup", name).stdout
        assert ipv4 in answer
    assert leases_of(host, first) == {ipv4: "dynamic", ipv6: "dynamic"}
    host.exec(second, "ping", "-c", "1", "-W", "2", first)


def test_without_a_way_out_foreign_names_fail_at_once(host: Host, guest: Callable[..., str]) -> None:
    made = guest()
    host.address_of(made)
    began = time.monotonic()
    answer = host.exec(made, "nslookup", "somewhere.example.org", check=False)
    assert answer.returncode != 0
    assert time.monotonic() - began < 2


def test_gateways_are_among_the_leases(host: Host) -> None:
    config = config_of(host)
    expected = {str(ip_interface(config[key]).ip): "gateway" for key in ("ipv4.address", "ipv6.address")}
    assert leases_of(host, f"{NETWORK}.gw") == expected


def test_a_fixed_address_is_given_and_listed_as_static(
    host: Host, network: Callable[..., str], guest: Callable[..., str]
) -> None:
    name = network(ipv4_address="10.200.1.1/24", ipv6_address="none")
    made = guest(devices=nic(name, ipv4_address="10.200.1.77"))
    assert host.address_of(made) == "10.200.1.77"
    assert leases_of(host, made, name) == {"10.200.1.77": "static"}


def test_stateful_dhcpv6_gives_the_fixed_address(
    host: Host, debian: str, network: Callable[..., str], guest: Callable[..., str]
) -> None:
    name = network(ipv4_address="none", ipv6_address="fd42:9::1/64", ipv6_dhcp_stateful="true")
    made = guest(debian, devices=nic(name, ipv6_address="fd42:9::77"))
    assert host.address_of(made, "inet6") == "fd42:9::77"
    assert leases_of(host, made, name) == {"fd42:9::77": "static"}
    file = host.directory / "networks" / name / "dnsmasq.leases"
    assert "fd42:9::77" in file.read_text()
    host.delete(made)
    wait_until(lambda: "fd42:9::77" not in file.read_text(), 5, what="the lease is given back")


@pytest.mark.parametrize(
    ("address", "reason"),
    [("10.200.9.5", "is not for guests"), ("10.200.1.1", "is not for guests"), ("fd42::1", "not an IPv4 address")],
)
def test_a_fixed_address_must_fit_the_subnet(
    host: Host, network: Callable[..., str], guest: Callable[..., str], address: str, reason: str
) -> None:
    name = network(ipv4_address="10.200.1.1/24", ipv6_address="none")
    with pytest.raises(ApiError, match=reason) as error:
        guest(devices=nic(name, ipv4_address=address))
    assert error.value.code == 400


def test_an_address_cannot_be_fixed_for_two_guests(
    host: Host, network: Callable[..., str], guest: Callable[..., str]
) -> None:
    name = network(ipv4_address="10.200.1.1/24", ipv6_address="none")
    first = guest(devices=nic(name, ipv4_address="10.200.1.77"))
    before = links(host)
    with pytest.raises(ApiError, match=f"already used by device 'eth0' of instance '{first}'"):
        guest(devices=nic(name, ipv4_address="10.200.1.77"))
    assert links(host) == before


def test_a_network_can_be_a_bare_wire(host: Host, network: Callable[..., str], guest: Callable[..., str]) -> None:
    name = network(ipv4_address="none", ipv6_address="none")
    first, second = guest(devices=nic(name)), guest(devices=nic(name))
    for made, address in ((first, "10.203.0.1/24"), (second, "10.203.0.2/24")):
        host.exec(made, "ip", "address", "add", address, "dev", "eth0")
    host.exec(first, "ping", "-c", "1", "-W", "2", "10.203.0.2")
    assert not (host.directory / "networks" / name / "dnsmasq.pid").exists()
    assert f"table inet hutch_{name}" not in tables(host)


def test_dynamic_names_are_what_guests_call_themselves(
    host: Host, network: Callable[..., str], guest: Callable[..., str]
) -> None:
    name = network(ipv4_address="10.200.1.1/24", ipv6_address="none", dns_mode="dynamic", dns_domain="example.test")
    made = guest(devices=nic(name))
    address = host.address_of(made)
    host.exec(made, "sh", "-c", "udhcpc -n -q -i eth0 -x hostname:other")
    assert address in host.exec(made, "nslookup", "other.example.test").stdout


def test_the_lease_of_a_deleted_guest_is_free_at_once(host: Host, guest: Callable[..., str]) -> None:
    made = guest()
    address = host.address_of(made)
    host.delete(made)
    file = host.directory / "networks" / NETWORK / "dnsmasq.leases"
    wait_until(lambda: address not in file.read_text(), 5, what="the lease is given back")
    assert leases_of(host, made) == {}


def test_stopping_a_guest_removes_its_link_and_keeps_its_hardware_address(
    host: Host, guest: Callable[..., str]
) -> None:
    before = links(host)
    made = guest()
    document = host.get(f"/1.0/instances/{made}")
    assert len(links(host) - before) == 1
    host.power(made, "stop", force=True)
    assert links(host) == before
    host.power(made, "start")
    again = host.get(f"/1.0/instances/{made}")
    assert again["config"]["volatile.eth0.hwaddr"] == document["config"]["volatile.eth0.hwaddr"]
    assert again["config"]["volatile.eth0.hwaddr"].startswith("00:16:3e:")


def test_a_nic_can_be_plugged_and_unplugged(host: Host, network: Callable[..., str], guest: Callable[..., str]) -> None:
    name = network(ipv4_address="10.200.1.1/24", ipv6_address="none")
    made = guest()
    extra = {"lan": {"type": "nic", "network": name}}
    host.call("PATCH", f"/1.0/instances/{made}", {"devices": extra})
    host.exec(made, "sh", "-c", "ip link set eth1 up; udhcpc -n -q -i eth1")
    assert host.address_of(made, nic="eth1").startswith("10.200.1.")

    document = host.get(f"/1.0/instances/{made}")
    kept = {key: value for key, value in document["devices"].items() if key != "lan"}
    host.call("PUT", f"/1.0/instances/{made}", {**document, "devices": kept})
    assert "eth1" not in host.exec(made, "ip", "link").stdout
    assert host.get(f"/1.0/networks/{name}/state")["bridge"]["upper_devices"] == []


def test_a_nic_without_network_is_on_a_bridge_of_the_administrator(host: Host, guest: Callable[..., str]) -> None:
    host.run("ip", "link", "add", "adminbr", "mtu", "1400", "type", "bridge")
    try:
        made = guest(devices={"eth0": {"type": "nic", "nictype": "bridged", "parent": "adminbr", "name": "lan0"}})
        assert "mtu 1400" in host.exec(made, "ip", "link", "show", "lan0").stdout
        port = host.get(f"/1.0/instances/{made}")["config"]["volatile.eth0.host_name"]
        assert "master adminbr" in host.run("ip", "link", "show", port).stdout
    finally:
        host.run("ip", "link", "delete", "adminbr")


def test_a_nic_can_end_on_the_host(host: Host, guest: Callable[..., str]) -> None:
    made = guest(devices={"eth0": {"type": "nic", "nictype": "p2p", "name": "eth0", "host_name": "toguest"}})
    host.run("ip", "address", "add", "10.201.0.1/30", "dev", "toguest")
    host.exec(made, "ip", "address", "add", "10.201.0.2/30", "dev", "eth0")
    host.run("ping", "-c", "1", "-W", "2", "10.201.0.2")
    host.power(made, "stop", force=True)
    assert "toguest" not in links(host)


def test_an_interface_of_somebody_else_is_not_touched(host: Host, guest: Callable[..., str]) -> None:
    host.run("ip", "link", "add", "theirs", "type", "bridge")
    try:
        with pytest.raises(ApiError, match="'theirs' exists already"):
            guest(devices={"eth0": {"type": "nic", "nictype": "p2p", "host_name": "theirs"}})
        with pytest.raises(ApiError, match="'theirs' already exists"):
            host.call("POST", "/1.0/networks", {"name": "theirs"})
        assert "theirs" in links(host)
        assert not host.api.exists("/1.0/networks/theirs/leases")
    finally:
        host.run("ip", "link", "delete", "theirs")


def test_settings_change_while_guests_go_on(host: Host, network: Callable[..., str], guest: Callable[..., str]) -> None:
    name = network(ipv4_address="10.200.1.1/24", ipv6_address="none", ipv4_nat="true")
    made = guest(devices=nic(name))
    address = host.address_of(made)
    before = dnsmasq_of(host, name)

    host.call("PATCH", f"/1.0/networks/{name}", {"config": {"ipv4.nat": "false", "user.note": "x"}})

    assert "masquerade" not in host.run("nft", "list", "table", "inet", f"hutch_{name}").stdout
    assert dnsmasq_of(host, name) == before
    host.call("PATCH", f"/1.0/networks/{name}", {"config": {"ipv4.address": "10.200.2.1/24", "ipv6.address": "auto"}})
    state = host.get(f"/1.0/networks/{name}/state")
    assert [entry["address"] for entry in state["addresses"] if entry["family"] == "inet"] == ["10.200.2.1"]
    assert config_of(host, name)["ipv6.address"].startswith("fd42:")
    host.exec(made, "sh", "-c", "udhcpc -n -q -i eth0")
    assert host.address_of(made) != address
    host.exec(made, "ping", "-c", "1", "-W", "2", "10.200.2.1")
    host.call("PATCH", f"/1.0/networks/{name}", {"config": {"ipv6.address": "none"}})
    assert {entry["family"] for entry in host.get(f"/1.0/networks/{name}/state")["addresses"]} == {"inet"}


def test_dnsmasq_is_started_again_when_it_dies(
    host: Host, network: Callable[..., str], guest: Callable[..., str]
) -> None:
    name = network(ipv4_address="10.200.1.1/24", ipv6_address="none")
    before = dnsmasq_of(host, name)
    os.kill(before, signal.SIGKILL)

    def replaced() -> bool:
        try:
            return dnsmasq_of(host, name) != before
        except (AssertionError, OSError, ValueError):
            return False

    wait_until(replaced, 10, what="another dnsmasq runs")
    assert host.address_of(guest(devices=nic(name))).startswith("10.200.1.")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"ipv4.adress": "auto"}, "did you mean ipv4.address"),
        ({"ipv4.address": "10.1.2.3"}, "CIDR"),
        ({"ipv4.address": "10.1.2.0/24"}, "not the address of a host"),
        ({"ipv4.address": "10.1.2.1/31"}, "too small"),
        ({"ipv6.address": "fd42::1/48"}, "must be a /64"),
        ({"ipv6.address": "10.0.0.1/24"}, "not an IPv6 address"),
        ({"ipv4.address": "10.1.2.1/24", "ipv4.dhcp.ranges": "10.9.9.2-10.9.9.9"}, "is not within"),
        ({"ipv4.nat": "perhaps"}, "true or false"),
        ({"bridge.mtu": "90"}, "between 1280"),
        ({"bridge.hwaddr": "01:00:00:00:00:00"}, "multicast"),
        ({"dns.domain": "-x"}, "invalid domain name"),
        ({"raw.dnsmasq": "no-such-option=1"}, "bad option"),
    ],
)
def test_wrong_settings_are_refused_and_nothing_is_left(host: Host, config: dict[str, str], reason: str) -> None:
    before = links(host), tables(host)
    with pytest.raises(ApiError, match=reason):
        host.call("POST", "/1.0/networks", {"name": "wrong0", "config": config})
    assert not host.api.exists("/1.0/networks/wrong0")
    assert (links(host), tables(host)) == before
    assert not (host.directory / "networks" / "wrong0").exists()


@pytest.mark.parametrize("name", ["a", "sixteen-letters-", "sp ace", "sla/sh", ".."])
def test_a_name_must_be_one_of_an_interface(host: Host, name: str) -> None:
    with pytest.raises(ApiError, match="Network interface") as error:
        host.call("POST", "/1.0/networks", {"name": name})
    assert error.value.code == 400


def test_subnets_in_use_are_refused_and_avoided(host: Host, network: Callable[..., str]) -> None:
    host.run("ip", "link", "add", "uplink0", "type", "bridge")
    try:
        host.run("ip", "link", "set", "uplink0", "up")
        host.run("ip", "address", "add", "192.0.2.1/24", "dev", "uplink0")
        host.run("ip", "route", "add", "10.0.0.0/8", "via", "192.0.2.9")
        with pytest.raises(ApiError, match=r"overlaps with interface uplink0 \(192.0.2.0/24\)"):
            network(ipv4_address="192.0.2.77/25")
        chosen = ip_interface(config_of(host, network())["ipv4.address"])
        assert not str(chosen).startswith("10.")
        assert chosen.network.is_private
    finally:
        host.run("ip", "link", "delete", "uplink0")


def test_a_network_in_use_is_not_deleted(host: Host) -> None:
    with pytest.raises(ApiError, match="in use"):
        host.call("DELETE", f"/1.0/networks/{NETWORK}")


def test_a_deleted_network_leaves_nothing(host: Host, network: Callable[..., str], guest: Callable[..., str]) -> None:
    before = links(host), tables(host)
    name = network()
    pid = dnsmasq_of(host, name)
    made = guest(devices=nic(name))
    host.address_of(made)
    host.delete(made)
    host.call("DELETE", f"/1.0/networks/{name}")
    assert (links(host), tables(host)) == before
    assert not Path(f"/proc/{pid}/exe").exists()
    assert not (host.directory / "networks" / name).exists()
