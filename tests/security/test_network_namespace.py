"""The network: root of a guest changes its own links, routes and rules, and sees and changes none of the host's."""

from collections.abc import Callable

from tests.functional.test_network import links, tables
from tests.hosts import Host

Guest = Callable[..., str]


def test_links_and_routes_are_the_guests_own(host: Host, guest: Guest) -> None:
    name = guest()
    before = links(host), host.run("ip", "route").stdout, tables(host)
    attempt = (
        "ip link add marker0 type bridge; ip route add 192.0.2.0/24 dev lo; ip link set lo down; ip link set eth0 down"
    )
    host.exec(name, "sh", "-c", attempt, check=False)
    assert (links(host), host.run("ip", "route").stdout, tables(host)) == before
    assert not links(host) & {"marker0"}
    assert "hutchbr0" not in host.exec(name, "cat", "/proc/net/dev").stdout


def test_the_hosts_namespaces_are_out_of_reach(host: Host, guest: Guest) -> None:
    name = guest()
    ours = host.run("readlink", "/proc/self/ns/net").stdout.strip()
    found = host.exec(name, "sh", "-c", "for p in /proc/[0-9]*; do readlink $p/ns/net; done", check=False).stdout
    assert ours not in found
    assert host.exec(name, "sh", "-c", "nsenter -t 1 -n ip link add marker0 type bridge", check=False).stdout == ""
    assert "marker0" not in links(host)


def test_kernel_settings_of_the_host_network_stay(host: Host, guest: Guest) -> None:
    name = guest()
    before = host.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout
    host.exec(name, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward", check=False)
    assert host.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout == before
