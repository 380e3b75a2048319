"""Networks across restarts of the daemon, and of several hosts side by side."""

from collections.abc import Callable

from tests.functional.test_network import config_of, dnsmasq_of, leases_of, links, tables
from tests.hosts import Host, Segment, images
from tests.hosts.host import NETWORK


def ready(make: Callable[..., Host], **how: object) -> Host:
    made = make(**how)
    made.prepare()
    made.import_image(images.built("busybox"), "busybox")
    return made


def test_a_killed_daemon_interrupts_no_network(hosts: Callable[..., Host]) -> None:
    host = ready(hosts)
    host.create("first", "busybox")
    address, pid, before = host.address_of("first"), dnsmasq_of(host), links(host)

    host.kill9()

    assert dnsmasq_of(host) == pid
    inside = host.namespace.members()
    assert pid in inside
    host.run("ping", "-c", "1", "-W", "2", address)
    host.start()
    assert dnsmasq_of(host) == pid
    assert links(host) == before
    host.create("second", "busybox")
    host.address_of("second")
    assert address in host.exec("second", "nslookup", "first.lxd").stdout
    assert leases_of(host, "first")[address] == "dynamic"
    host.power("first", "stop", force=True)
    assert len(before - links(host)) == 1


def test_dnsmasq_that_died_with_the_daemon_is_back_after_its_start(hosts: Callable[..., Host]) -> None:
    host = ready(hosts)
    host.kill9()
    pid = dnsmasq_of(host)
    host.run("kill", "-9", str(pid))
    host.start()
    assert dnsmasq_of(host) != pid
    host.create("first", "busybox")
    host.address_of("first")


def test_a_bridge_and_rules_that_are_missing_are_made_again(hosts: Callable[..., Host]) -> None:
    host = ready(hosts)
    host.stop()
    host.run("ip", "link", "delete", NETWORK)
    host.run("nft", "flush", "ruleset")
    host.start()
    assert NETWORK in links(host)
    assert tables(host) == {f"table inet hutch_{NETWORK}"}
    host.create("first", "busybox")
    host.address_of("first")


def test_guests_reach_the_world_by_the_hosts_address(hosts: Callable[..., Host], segment: Segment) -> None:
    first, second = ready(hosts, segment=segment), hosts(segment=segment)
    first.create("guest", "busybox")
    first.address_of("guest")

    first.exec("guest", "ping", "-c", "1", "-W", "2", second.address)

    first.call("PATCH", f"/1.0/networks/{NETWORK}", {"config": {"ipv4.nat": "false"}})
    lost = first.exec("guest", "ping", "-c", "1", "-W", "1", second.address, check=False)
    assert lost.returncode != 0


def test_foreign_names_are_asked_of_the_hosts_resolver(hosts: Callable[..., Host], segment: Segment) -> None:
    first, second = hosts(segment=segment, start=False), hosts(segment=segment, start=False)
    words = [
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        f"--listen-address={second.address}",
        "--bind-interfaces",
    ]
    second.run("dnsmasq", *words, "--address=/example.org/192.0.2.7", f"--pid-file={second.folder}/resolver.pid")
    resolv = first.folder / "resolv.conf"
    resolv.write_text(f"nameserver 127.0.0.53\nnameserver {second.address}\n")
    first.run("mount", "--bind", resolv, "/etc/resolv.conf")
    first.run("ip", "route", "add", "default", "via", second.address)
    first.start()
    first.prepare()
    first.import_image(images.built("busybox"), "busybox")
    first.create("guest", "busybox")
    first.address_of("guest")
    assert "192.0.2.7" in first.exec("guest", "nslookup", "www.example.org").stdout


def test_routing_can_be_forbidden(hosts: Callable[..., Host], segment: Segment) -> None:
    first, second = ready(hosts, segment=segment), hosts(segment=segment)
    first.call("PATCH", f"/1.0/networks/{NETWORK}", {"config": {"ipv4.routing": "false"}})
    first.create("guest", "busybox")
    first.address_of("guest")
    lost = first.exec("guest", "ping", "-c", "1", "-W", "1", second.address, check=False)
    assert lost.returncode != 0
    gateway = config_of(first)["ipv4.address"].partition("/")[0]
    first.exec("guest", "ping", "-c", "1", "-W", "2", gateway)


def test_two_hosts_do_not_disturb_each_other(hosts: Callable[..., Host]) -> None:
    first, second = ready(hosts), ready(hosts)
    for host in (first, second):
        host.create("same", "busybox")
    addresses = [host.address_of("same") for host in (first, second)]
    first.delete("same")
    assert second.address_of("same") == addresses[1]
    assert NETWORK in links(second)
    assert leases_of(first, "same") == {}
    assert addresses[1] in leases_of(second, "same")


def test_a_foreign_policy_that_drops_gets_our_rules_and_keeps_its_own(hosts: Callable[..., Host]) -> None:
    host = hosts(start=False)
    host.run(
        "nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    )
    theirs = host.run("nft", "list", "table", "ip", "filter").stdout
    host.start()
    host.prepare()
    assert host.run("nft", "list", "table", "ip", "filter").stdout.count(f"hutch network {NETWORK}") == 2
    host.call("PATCH", f"/1.0/networks/{NETWORK}", {"config": {"ipv4.firewall": "false"}})
    assert host.run("nft", "list", "table", "ip", "filter").stdout == theirs
