"""ACLs: what guests of a bridge may send and receive, from port to port and beyond."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.functional.test_network import network, tables
from tests.functional.test_proxy import echo, inside, say
from tests.hosts import ApiError, Host, wait_until

__all__ = ["network"]

Guest = Callable[..., str]
Rules = Callable[..., str]


@pytest.fixture
def acl(host: Host) -> Iterator[Rules]:
    """Makes ACLs and answers their names; deleted after the test. To be asked for before `network` and `guest`."""
    names: list[str] = []

    def make(**rules: Any) -> str:
        names.append(f"acl{len(names)}")
        host.call("POST", "/1.0/network-acls", {"name": names[-1], **rules})
        return names[-1]

    yield make
    for name in reversed(names):
        host.call("DELETE", f"/1.0/network-acls/{name}")


def nic(network: str, **keys: str) -> dict[str, dict[str, str]]:
    return {"eth0": {"type": "nic", "network": network, "name": "eth0", **keys}}


def pings(host: Host, name: str, address: str) -> bool:
    return host.exec(name, "ping", "-c", "1", "-W", "1", address, check=False).returncode == 0


def test_rules_hold_between_guests_and_towards_the_host(
    host: Host, acl: Rules, network: Callable[..., str], guest: Guest
) -> None:
    web = acl(
        ingress=[{"action": "allow", "protocol": "tcp", "destination_port": "80-81"}],
        egress=[
            {"action": "allow", "protocol": "tcp", "destination_port": "80,443"},
            {"action": "drop", "protocol": "tcp", "destination_port": "443", "state": "disabled"},
        ],
    )
    name = network(ipv4_address="10.201.1.1/24", ipv6_address="none")
    host.call("PATCH", f"/1.0/networks/{name}", {"config": {"security.acls": web}})
    one, two = guest(devices=nic(name)), guest(devices=nic(name))
    target = host.address_of(two)
    host.address_of(one)

    with echo(inside(host, two), "tcp", target, 80), echo(inside(host, two), "tcp", target, 81):
        assert say(inside(host, one), "tcp", target, 80) == "HELLO"
        assert "refused" in say(inside(host, one), "tcp", target, 81), "it may be received, but not sent"
        assert say(host.namespace.command(), "tcp", target, 81) == "HELLO"
        assert not pings(host, one, target)
        assert not pings(host, one, "10.201.1.1")
        assert target in host.exec(one, "nslookup", two).stdout, "DNS of the network is always allowed"

        host.call("PATCH", f"/1.0/network-acls/{web}", {"egress": [{"action": "allow"}]})
        assert say(inside(host, one), "tcp", target, 81) == "HELLO"
        host.restart()
        assert say(inside(host, one), "tcp", target, 81) == "HELLO"
        assert not pings(host, one, target), "what the other receives is judged too"
    with pytest.raises(ApiError, match="in use"):
        host.call("DELETE", f"/1.0/network-acls/{web}")
    assert host.get(f"/1.0/network-acls/{web}")["used_by"] == [f"/1.0/networks/{name}"]
    host.call("PATCH", f"/1.0/networks/{name}", {"config": {"security.acls": ""}})
    assert pings(host, one, target)
    assert f"table inet hutch_{name}/acl" not in tables(host)


def test_a_nic_has_acls_of_its_own_which_name_groups(
    host: Host, acl: Rules, network: Callable[..., str], guest: Guest
) -> None:
    friends = acl(egress=[{"action": "allow"}], ingress=[{"action": "allow"}])
    server = acl(
        ingress=[
            {"action": "allow", "protocol": "icmp4", "source": friends},
            {"action": "reject", "source": "@external"},
            {"action": "allow", "protocol": "tcp", "source": "@internal", "destination_port": "80"},
        ],
        egress=[],
    )
    name = network(ipv4_address="10.201.2.1/24", ipv6_address="none")
    target = guest(devices=nic(name, **{"security.acls": server}))
    friend, stranger = guest(devices=nic(name, **{"security.acls": friends})), guest(devices=nic(name))
    address = host.address_of(target)
    for each in (friend, stranger):
        host.address_of(each)

    assert pings(host, friend, address)
    assert not pings(host, stranger, address)
    with echo(inside(host, target), "tcp", address, 80):
        assert say(inside(host, stranger), "tcp", address, 80) == "HELLO"
    assert not pings(host, target, host.address_of(stranger)), "nothing may be sent but answers"

    change = host.get(f"/1.0/instances/{stranger}")
    change["devices"]["eth0"] |= {"security.acls": friends}
    host.call("PUT", f"/1.0/instances/{stranger}", change)
    host.power(stranger, "restart", force=True)
    host.address_of(stranger)
    assert pings(host, stranger, address)
    assert host.get(f"/1.0/network-acls/{friends}")["used_by"] == [
        *(f"/1.0/instances/{each}" for each in sorted((friend, stranger))),
        f"/1.0/network-acls/{server}",
    ]


def test_what_no_rule_speaks_of_is_rejected_dropped_or_allowed(
    host: Host, acl: Rules, network: Callable[..., str], guest: Guest
) -> None:
    empty = acl()
    name = network(ipv4_address="10.201.3.1/24", ipv6_address="none")
    keys = {"security.acls": empty, "security.acls.default.egress.action": "allow"}
    host.call("PATCH", f"/1.0/networks/{name}", {"config": keys})
    one = guest(devices=nic(name))
    host.address_of(one)
    assert pings(host, one, "10.201.3.1")
    host.call("PATCH", f"/1.0/networks/{name}", {"config": {"security.acls.default.egress.action": "drop"}})
    assert not pings(host, one, "10.201.3.1")


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"action": "maybe"}, "Invalid action"),
        ({"action": "allow", "source": "nobody"}, "is no address, subnet, range, ACL"),
        ({"action": "allow", "source": "10.0.0.1", "destination": "fd00::1"}, "Conflicting IP family"),
        ({"action": "allow", "destination_port": "80"}, "ports need the protocol"),
        ({"action": "allow", "protocol": "tcp", "destination_port": "0"}, "ports are 1 to 65535"),
        ({"action": "allow", "protocol": "tcp", "icmp_type": "8"}, "need the protocol icmp4"),
        ({"action": "allow", "state": "asleep"}, "Invalid state"),
        ({"action": "allow", "source": "10.0.0.9-10.0.0.1"}, "invalid range"),
    ],
)
def test_rules_that_make_no_sense_are_refused(host: Host, rule: dict[str, str], reason: str) -> None:
    with pytest.raises(ApiError, match=reason) as error:
        host.call("POST", "/1.0/network-acls", {"name": "wrong", "ingress": [rule]})
    assert error.value.code == 400
    assert not host.api.exists("/1.0/network-acls/wrong")


def test_an_acl_that_is_absent_is_refused(host: Host, network: Callable[..., str]) -> None:
    with pytest.raises(ApiError, match="Network ACL 'absent' does not exist"):
        network(security_acls="absent")
    devices = nic("hutchbr0", **{"security.acls": "absent"})
    with pytest.raises(ApiError, match="Network ACL 'absent' does not exist"):
        host.call(
            "POST", "/1.0/instances", {"name": "x", "source": {"type": "image", "alias": "busybox"}, "devices": devices}
        )


def test_acls_by_command(host: Host) -> None:
    for run in (host.hutch, host.lxc):
        run("network", "acl", "create", "shop", input="")
        run("network", "acl", "rule", "add", "shop", "ingress", "action=allow", "protocol=tcp", "destination_port=80")
        run("network", "acl", "set", "shop", "user.owner=ann")
        assert run("network", "acl", "get", "shop", "user.owner").stdout == "ann\n"
        assert 'destination_port: "80"' in run("network", "acl", "show", "shop").stdout.replace("'", '"')
        assert "shop" in run("network", "acl", "list").stdout
        run("network", "acl", "rule", "remove", "shop", "ingress", "destination_port=80")
        run("network", "acl", "unset", "shop", "user.owner")
        run("network", "acl", "rename", "shop", "store")
        run("network", "acl", "delete", "store")


def test_rules_speak_of_ipv6_and_ranges_and_may_be_logged(
    host: Host, acl: Rules, network: Callable[..., str], guest: Guest
) -> None:
    rules = acl(
        ingress=[
            {"action": "allow", "protocol": "icmp6", "icmp_type": "128", "source": "fd42:77::/64", "state": "logged"},
            {
                "action": "drop",
                "protocol": "udp",
                "source": "10.201.4.9-10.201.4.20,fd42:77::9",
                "source_port": "1-9,11",
            },
        ],
        egress=[{"action": "allow", "state": "logged"}],
    )
    name = network(ipv4_address="10.201.4.1/24", ipv6_address="fd42:77::1/64")
    keys = {"security.acls": rules, "security.acls.default.ingress.logged": "true"}
    host.call("PATCH", f"/1.0/networks/{name}", {"config": keys})
    one, two = guest(devices=nic(name)), guest(devices=nic(name))
    target = host.address_of(two, "inet6")
    host.address_of(one, "inet6")
    ping = ("ping", "-6", "-c", "1", "-W", "1", target)
    wait_until(lambda: host.exec(one, *ping, check=False).returncode == 0, what="a ping by IPv6")
    assert not pings(host, one, host.address_of(two))
    host.call("PATCH", f"/1.0/network-acls/{rules}", {"ingress": []})
    assert host.exec(one, *ping, check=False).returncode != 0
