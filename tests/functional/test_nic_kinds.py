"""Nics on an interface of the host: macvlan, physical, routed. A second host on the same wire is who they speak to."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.functional.test_network import links
from tests.hosts import ApiError, Host, Segment, images, wait_until

Wire = tuple[Host, Host]


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """A host with a daemon, and one without, on a wire; 10.123.0.1 and 10.123.0.2."""
    with Segment() as segment, Host(segment=segment) as one, Host(segment=segment, start=False, lxcfs=False) as two:
        one.prepare()
        one.import_image(images.built("busybox"), "busybox")
        yield one, two


@pytest.fixture
def made(wire: Wire) -> Iterator[Callable[..., str]]:
    """Makes guests with one nic, which the arguments are, deleted after the test. On eth0 the guest asks for DHCP."""
    host, names = wire[0], list[str]()

    def make(**keys: str) -> str:
        name = f"kind{len(names)}"
        names.append(name)
        settings = {key.replace("_", "."): value for key, value in keys.items()}
        host.create(name, "busybox", devices={"eth0": {"type": "nic", "name": "eth0", **settings}})
        return name

    yield make
    for name in names:
        if host.api.exists(f"/1.0/instances/{name}"):
            host.delete(name)


def reaches(host: Host, address: str) -> bool:
    return host.run("ping", "-c", "1", "-W", "1", address, check=False).returncode == 0


def link(host: Host, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(host.run("ip", "-j", "link", "show", name).stdout)[0]
    return found


def test_macvlan_has_an_address_of_its_own_on_the_wire(wire: Wire, made: Callable[..., str]) -> None:
    host, other = wire
    before = links(host)
    name = made(nictype="macvlan", parent="eth0")
    host.exec(name, "ip", "address", "add", "10.123.0.50/24", "dev", "eth0")
    wait_until(lambda: reaches(other, "10.123.0.50"), what="the other host reaches the guest")
    hwaddr = host.get(f"/1.0/instances/{name}")["config"]["volatile.eth0.hwaddr"]
    assert hwaddr in other.run("ip", "neigh", "show", "10.123.0.50").stdout

    host.power(name, "stop", force=True)
    assert links(host) == before
    host.power(name, "start")
    assert hwaddr in host.exec(name, "ip", "link", "show", "eth0").stdout


def test_macvlan_is_plugged_and_unplugged_live(wire: Wire, made: Callable[..., str]) -> None:
    host, _ = wire
    name = made(nictype="p2p")
    before = links(host)
    second = {"type": "nic", "nictype": "macvlan", "parent": "eth0"}
    host.call("PATCH", f"/1.0/instances/{name}", {"devices": {"second": second}})
    assert "eth1" in host.state(name)["network"]
    host.restart()
    document = host.get(f"/1.0/instances/{name}")
    del document["devices"]["second"]
    host.call("PUT", f"/1.0/instances/{name}", document)
    assert "eth1" not in host.state(name)["network"]
    assert links(host) == before


def test_a_network_names_the_parent_for_its_nics(wire: Wire, made: Callable[..., str]) -> None:
    host, other = wire
    host.call("POST", "/1.0/networks", {"name": "shared", "type": "macvlan", "config": {"parent": "eth0"}})
    name = made(network="shared")
    host.exec(name, "ip", "address", "add", "10.123.0.51/24", "dev", "eth0")
    wait_until(lambda: reaches(other, "10.123.0.51"), what="the other host reaches the guest")
    found = host.get("/1.0/networks/shared")
    assert (found["type"], found["managed"], found["used_by"]) == ("macvlan", True, [f"/1.0/instances/{name}"])
    with pytest.raises(ApiError, match="in use"):
        host.call("DELETE", "/1.0/networks/shared")
    host.delete(name)
    host.restart()
    host.call("DELETE", "/1.0/networks/shared")
    with pytest.raises(ApiError, match="Parent interface 'nowhere' not found"):
        host.call("POST", "/1.0/networks", {"name": "lost", "type": "physical", "config": {"parent": "nowhere"}})


def test_a_physical_interface_moves_in_and_comes_back_as_it_was(wire: Wire, made: Callable[..., str]) -> None:
    host, _ = wire
    host.run("ip", "link", "add", "spare0", "type", "veth", "peer", "name", "spare1")
    before = link(host, "spare0")
    name = made(nictype="physical", parent="spare0", hwaddr="00:16:3e:00:00:77", mtu="1400")
    assert "spare0" not in links(host)
    inside = host.state(name)["network"]["eth0"]
    assert (inside["hwaddr"], inside["mtu"]) == ("00:16:3e:00:00:77", 1400)
    with pytest.raises(ApiError, match="Parent device 'spare0' doesn't exist"):
        made(nictype="physical", parent="spare0")

    host.power(name, "stop", force=True)
    after = link(host, "spare0")
    assert (after["address"], after["mtu"]) == (before["address"], before["mtu"])
    assert not after.get("ifalias")

    host.power(name, "start")
    document = host.get(f"/1.0/instances/{name}")
    document["devices"]["eth0"] = {"type": "none"}
    host.call("PUT", f"/1.0/instances/{name}", document)
    assert link(host, "spare0")["address"] == before["address"]
    host.run("ip", "link", "delete", "spare0")


def test_a_routed_guest_is_reached_on_the_parents_wire(wire: Wire, made: Callable[..., str]) -> None:
    host, other = wire
    name = made(name="lan0", nictype="routed", parent="eth0", ipv4_address="10.123.0.60", ipv6_address="fd42:123::60")
    wait_until(lambda: reaches(other, "10.123.0.60"), what="the other host reaches the guest by IPv4")
    wait_until(lambda: reaches(other, "fd42:123::60"), what="the other host reaches the guest by IPv6")
    host.exec(name, "ping", "-c", "1", "-W", "2", "10.123.0.2")
    assert "10.123.0.60" in host.run("ip", "neigh", "show", "proxy").stdout

    host.exec(name, "ip", "address", "add", "10.123.0.61/32", "dev", "lan0")
    stolen = host.exec(name, "ping", "-c", "1", "-W", "1", "-I", "10.123.0.61", "10.123.0.2", check=False)
    assert stolen.returncode != 0, "it may use no other address"

    host.power(name, "stop", force=True)
    assert "10.123.0.60" not in host.run("ip", "neigh", "show", "proxy").stdout + host.run("ip", "route").stdout
    assert not reaches(other, "10.123.0.60")


def test_a_routed_nic_is_plugged_live(wire: Wire, made: Callable[..., str]) -> None:
    host, other = wire
    name = made(nictype="p2p")
    routed = {"type": "nic", "nictype": "routed", "parent": "eth0", "ipv4.address": "10.123.0.62"}
    host.call("PATCH", f"/1.0/instances/{name}", {"devices": {"second": routed}})
    wait_until(lambda: reaches(other, "10.123.0.62"), what="the other host reaches the guest")
    with pytest.raises(ApiError, match="exists already"):
        made(nictype="routed", ipv4_address="10.123.0.62")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"nictype": "macvlan"}, "the key parent, or network, is required"),
        ({"nictype": "macvlan", "parent": "eth0", "mode": "loud"}, "not one of"),
        ({"nictype": "routed", "parent": "eth0"}, "needs ipv4.address or ipv6.address"),
        ({"nictype": "routed", "ipv4.address": "here"}, "not an IPv4 address"),
        ({"nictype": "ipvlan", "parent": "eth0"}, "Unsupported device type"),
        ({"nictype": "sriov", "parent": "eth0"}, "Unsupported device type"),
    ],
)
def test_nics_that_cannot_be_are_refused(wire: Wire, keys: dict[str, str], reason: str) -> None:
    document = {
        "name": "k",
        "source": {"type": "image", "alias": "busybox"},
        "devices": {"eth0": {"type": "nic", **keys}},
    }
    with pytest.raises(ApiError, match=reason) as error:
        wire[0].call("POST", "/1.0/instances", document)
    assert error.value.code == 400
