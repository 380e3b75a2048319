"""Other people's firewalls: Docker, ufw and firewalld drop what they do not know, and hutch's guests go on all the same."""

import shutil
from collections.abc import Iterator

import pytest

from tests.functional.test_network import tables
from tests.hosts import Host, Segment, images, wait_until

pytestmark = pytest.mark.skipif(shutil.which("iptables-nft") is None, reason="iptables is not installed")

Wire = tuple[Host, str, str]


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """A host on a wire, a guest on it, and the address of another host."""
    with Segment() as segment, Host(segment=segment) as one, Host(segment=segment, start=False, lxcfs=False) as two:
        one.prepare()
        one.import_image(images.built("busybox"), "busybox")
        one.create("g", "busybox")
        one.address_of("g")
        yield one, "g", two.address


@pytest.fixture(autouse=True)
def clean(wire: Wire) -> Iterator[None]:
    """The others' rules go after each test."""
    yield
    for family in ("ip", "ip6"):
        wire[0].run("nft", "delete", "table", family, "filter", check=False)


def reaches(host: Host, guest: str, address: str) -> bool:
    return host.exec(guest, "ping", "-c", "1", "-W", "1", address, check=False).returncode == 0


def as_docker(host: Host) -> None:
    """What dockerd does at its start, as far as it concerns others."""
    for words in (
        ("-N", "DOCKER-USER"),
        ("-A", "DOCKER-USER", "-j", "RETURN"),
        ("-N", "DOCKER-FORWARD"),
        ("-A", "DOCKER-FORWARD", "-o", "docker0", "-j", "DROP"),
        ("-A", "FORWARD", "-j", "DOCKER-USER"),
        ("-A", "FORWARD", "-j", "DOCKER-FORWARD"),
        ("-P", "FORWARD", "DROP"),
    ):
        host.run("iptables-nft", *words)


def test_traffic_passes_under_dockers_policy_whichever_comes_first(wire: Wire) -> None:
    host, guest, other = wire
    assert reaches(host, guest, other)

    as_docker(host)
    wait_until(lambda: reaches(host, guest, other), what="the guest reaches the other host again")

    listed = host.run("iptables-nft", "-S", "FORWARD").stdout
    assert "-P FORWARD DROP" in listed
    assert "-A FORWARD -j DOCKER-USER" in listed
    host.restart()
    assert reaches(host, guest, other)
    assert host.run("nft", "list", "chain", "ip", "filter", "FORWARD").stdout.count("hutch network") == 2


def test_dhcp_and_dns_pass_under_ufws_policy(wire: Wire) -> None:
    host, guest, _ = wire
    for program in ("iptables-nft", "ip6tables-nft"):
        host.run(program, "-N", "ufw-before-input")
        host.run(program, "-A", "ufw-before-input", "-i", "lo", "-j", "ACCEPT")
        host.run(program, "-A", "INPUT", "-j", "ufw-before-input")
        host.run(program, "-P", "INPUT", "DROP")
        host.run(program, "-P", "FORWARD", "DROP")
    wait_until(
        lambda: "hutch network" in host.run("nft", "list", "chain", "ip", "filter", "INPUT").stdout, what="our rules"
    )
    host.power(guest, "restart", force=True)
    address = host.address_of(guest)
    assert address in host.exec(guest, "nslookup", guest).stdout
    assert "-A INPUT -j ufw-before-input" in host.run("iptables-nft", "-S", "INPUT").stdout


def test_nothing_of_others_goes_with_a_network(wire: Wire) -> None:
    host, _, _ = wire
    as_docker(host)
    host.call("POST", "/1.0/networks", {"name": "passing", "config": {"ipv6.address": "none"}})
    wait_until(lambda: "passing" in host.run("iptables-nft", "-S").stdout, what="the network's rules are there")
    host.call("DELETE", "/1.0/networks/passing")
    left = [line for line in host.run("iptables-nft", "-S").stdout.splitlines() if "network hutchbr0" not in line]
    as_docker_made = [
        "-A FORWARD -j DOCKER-USER",
        "-A FORWARD -j DOCKER-FORWARD",
        "-A DOCKER-FORWARD -o docker0 -j DROP",
    ]
    assert all(line in left for line in as_docker_made)
    assert not [line for line in left if "hutch" in line or "passing" in line]


def test_a_flushed_ruleset_gets_hutchs_tables_again(wire: Wire) -> None:
    host, guest, other = wire
    before = tables(host)
    host.run("nft", "flush", "ruleset")
    wait_until(lambda: tables(host) == before, what="the tables are there again")
    wait_until(lambda: reaches(host, guest, other), what="the guest reaches the other host")


def test_a_network_without_firewall_puts_no_rule_anywhere(wire: Wire) -> None:
    host, _, _ = wire
    as_docker(host)
    config = {"ipv4.firewall": "false", "ipv6.firewall": "false", "ipv4.nat": "false", "ipv6.nat": "false"}
    host.call("POST", "/1.0/networks", {"name": "bare", "config": config})
    assert "bare" not in host.run("nft", "list", "ruleset").stdout
    host.call("DELETE", "/1.0/networks/bare")
