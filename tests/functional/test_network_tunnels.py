"""What joins a bridge to the world: tunnels to other hosts, interfaces of the host, routes, the address that NAT uses."""

from collections.abc import Callable, Iterator

import pytest

from tests.functional.test_network import links, network, tables
from tests.hosts import ApiError, Host, Segment, images, wait_until

__all__ = ["network", "tables"]

Pair = tuple[Host, Host]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Two hosts with daemons on one wire, 10.123.0.1 and 10.123.0.2."""
    with Segment() as segment, Host(segment=segment) as one, Host(segment=segment) as two:
        for host in (one, two):
            host.call("POST", "/1.0/storage-pools", {"name": "default", "driver": "dir"})
            host.import_image(images.built("busybox"), "busybox")
        yield one, two


def place(host: Host, name: str, **nic: str) -> None:
    devices = {
        "root": {"type": "disk", "path": "/", "pool": "default"},
        "eth0": {"type": "nic", "name": "lan0", **{key.replace("_", "."): value for key, value in nic.items()}},
    }
    host.create(name, "busybox", devices=devices, profiles=[])


@pytest.mark.parametrize(
    "settings",
    [
        {"protocol": "vxlan", "id": "7", "local": "LOCAL", "remote": "REMOTE", "port": "4790"},
        {"protocol": "vxlan", "id": "8", "interface": "eth0", "group": "239.1.2.3", "port": "4791"},
    ],
)
def test_guests_of_two_hosts_are_on_one_network(pair: Pair, settings: dict[str, str]) -> None:
    ends = [f"10.123.0.{number}" for number in (1, 2)]
    for number, host in enumerate(pair):
        keys = {
            key: value.replace("LOCAL", ends[number]).replace("REMOTE", ends[1 - number])
            for key, value in settings.items()
        }
        config = {f"tunnel.far.{key}": value for key, value in keys.items()}
        host.call(
            "POST",
            "/1.0/networks",
            {"name": "lan", "config": config | {"ipv4.address": "none", "ipv6.address": "none"}},
        )
        place(host, "g", network="lan")
        host.exec("g", "ip", "address", "add", f"10.202.0.{number + 1}/24", "dev", "lan0")
        host.exec("g", "ip", "link", "set", "lan0", "up")
    one, _ = pair
    wait_until(
        lambda: one.exec("g", "ping", "-c", "1", "-W", "1", "10.202.0.2", check=False).returncode == 0, what="a ping"
    )
    assert "mtu 1400" in one.exec("g", "ip", "link", "show", "lan0").stdout
    one.restart()
    assert one.exec("g", "ping", "-c", "1", "-W", "2", "10.202.0.2").returncode == 0

    one.call("PATCH", "/1.0/networks/lan", {"config": {"tunnel.far.id": "99"}})
    assert one.exec("g", "ping", "-c", "1", "-W", "1", "10.202.0.2", check=False).returncode != 0
    for host in pair:
        host.delete("g")
        host.call("DELETE", "/1.0/networks/lan")
        assert not [link for link in links(host) if link.startswith("lan")]


def test_an_interface_of_the_host_joins_the_bridge(pair: Pair) -> None:
    host = pair[0]
    host.run("ip", "link", "add", "spare0", "type", "veth", "peer", "name", "spare1")
    config = {"bridge.external_interfaces": "spare0", "ipv4.address": "10.203.0.1/24", "ipv6.address": "none"}
    host.call("POST", "/1.0/networks", {"name": "lan", "config": config})
    host.run("ip", "address", "add", "10.203.0.9/24", "dev", "spare1")
    host.run("ip", "link", "set", "spare1", "up")
    assert "master lan" in host.run("ip", "link", "show", "spare0").stdout
    host.call("PATCH", "/1.0/networks/lan", {"config": {"bridge.external_interfaces": ""}})
    assert "master" not in host.run("ip", "link", "show", "spare0").stdout
    host.call("DELETE", "/1.0/networks/lan")
    assert "spare0" in links(host)
    host.run("ip", "link", "delete", "spare0")


def test_routes_lead_to_the_bridge(pair: Pair) -> None:
    host = pair[0]
    config = {"ipv4.address": "10.204.0.1/24", "ipv6.address": "none", "ipv4.routes": "192.0.2.0/24,198.51.100.0/24"}
    host.call("POST", "/1.0/networks", {"name": "lan", "config": config})
    assert {"192.0.2.0/24", "198.51.100.0/24"} <= set(host.run("ip", "route", "show", "dev", "lan").stdout.split())
    host.call("PATCH", "/1.0/networks/lan", {"config": {"ipv4.routes": "192.0.2.0/24"}})
    assert "198.51.100.0/24" not in host.run("ip", "route", "show", "dev", "lan").stdout
    host.call("DELETE", "/1.0/networks/lan")


def test_nat_uses_the_address_that_it_is_given(pair: Pair) -> None:
    one, two = pair
    one.run("ip", "address", "add", "10.123.0.200/24", "dev", "eth0")
    config = {
        "ipv4.address": "10.205.0.1/24",
        "ipv6.address": "none",
        "ipv4.nat": "true",
        "ipv4.nat.address": "10.123.0.200",
    }
    one.call("POST", "/1.0/networks", {"name": "lan", "config": config | {"ipv4.nat.order": "after"}})
    place(one, "n", network="lan")
    for words in (("address", "add", "10.205.0.9/24", "dev", "lan0"), ("route", "add", "default", "via", "10.205.0.1")):
        one.exec("n", "ip", *words)
    assert one.exec("n", "ping", "-c", "1", "-W", "2", "10.123.0.2").returncode == 0
    assert "10.123.0.200" in two.run("ip", "neigh").stdout
    one.delete("n")
    one.call("DELETE", "/1.0/networks/lan")
    one.run("ip", "address", "delete", "10.123.0.200/24", "dev", "eth0")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"tunnel.far.protocol": "ipsec"}, "not one of"),
        ({"tunnel.far.protocol": "vxlan", "tunnel.far.local": "10.0.0.1"}, "belong together"),
        ({"tunnel.far.protocol": "gre"}, "gre needs local and remote"),
        ({"tunnel.far.protocol": "vxlan"}, "vxlan needs local and remote"),
        ({"tunnel.far.id": "7"}, "the key protocol is required"),
        ({"tunnel.much-too-long-a-name.protocol": "gre"}, "shorter name"),
        ({"tunnel.far": "7"}, "tunnel.NAME.SETTING"),
        ({"bridge.external_interfaces": "nowhere0"}, "nowhere0"),
        ({"ipv4.routes": "10.0.0.1/8"}, "not an IPv4 subnet"),
        ({"ipv4.nat.address": "here"}, "not an IPv4 address"),
    ],
)
def test_what_makes_no_sense_is_refused(pair: Pair, config: dict[str, str], reason: str) -> None:
    with pytest.raises(ApiError, match=reason) as error:
        pair[0].call("POST", "/1.0/networks", {"name": "lan", "config": config})
    assert error.value.code == 400
    assert "lan" not in links(pair[0])


def test_allocations_name_who_has_each_address(host: Host, guest: Callable[..., str]) -> None:
    name = guest()
    address = host.address_of(name)
    found = {each["address"]: each for each in host.get("/1.0/network-allocations")}
    config = host.get("/1.0/networks/hutchbr0")["config"]
    own = found[f"{address}/32"]
    assert (own["used_by"], own["type"], own["network"]) == (f"/1.0/instances/{name}", "instance", "hutchbr0")
    assert own["hwaddr"] == host.get(f"/1.0/instances/{name}")["config"]["volatile.eth0.hwaddr"]
    assert found[config["ipv4.address"]]["used_by"] == "/1.0/networks/hutchbr0"
    assert f"/1.0/instances/{name}" in host.hutch("network", "list-allocations").stdout
