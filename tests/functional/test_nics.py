"""Nics: what a guest may send by them, how fast, to whom; changed while it runs."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functional import frames
from tests.functional.test_network import links, tables
from tests.hosts import ApiError, Host, wait_until
from tests.hosts.host import NETWORK

Guest = Callable[..., str]
OTHER = "00:16:3e:aa:bb:cc"


def nic(**keys: str) -> dict[str, dict[str, str]]:
    return {"eth0": {"type": "nic", "network": NETWORK, "name": "eth0", **keys}}


def pid(host: Host, name: str) -> int:
    return int(host.state(name)["pid"])


def hwaddr(host: Host, name: str) -> str:
    return str(host.get(f"/1.0/instances/{name}")["config"]["volatile.eth0.hwaddr"])


def change(host: Host, name: str, **keys: str) -> None:
    document = host.get(f"/1.0/instances/{name}")
    eth0 = document["expanded_devices"]["eth0"]
    document["devices"]["eth0"] = eth0 | {
        key.replace("__", "_").replace("_", ".", 1): value for key, value in keys.items()
    }
    host.call("PUT", f"/1.0/instances/{name}", document)


def arrived(host: Host, sender: str, watcher: str, folder: Path, *sent: bytes) -> list[bytes]:
    """Which of the frames that one guest sent reached another; a last one from no filter's concern ends the wait."""
    seen, last = (
        folder / "seen",
        frames.ethernet(hwaddr(host, sender), frames.BROADCAST, 0x0806, bytes(46) + b"the last"),
    )
    with frames.watching(pid(host, watcher), seen):
        # Through the bridge itself, so that every filter of the sender's nic has been passed by then.
        frames.send(pid(host, sender), *sent)
        outside = host.get(f"/1.0/instances/{watcher}")["config"]["volatile.eth0.host_name"]
        subprocess.run(
            host.namespace.command("python3", "-c", frames._SEND, outside),
            input=json.dumps([last.hex()]),
            text=True,
            check=True,
        )
        wait_until(lambda: last.hex() in seen.read_text(), what="the last frame has come")
    text = seen.read_text()
    return [frame for frame in sent if frame.hex() in text]


def test_without_filters_a_guest_can_forge(host: Host, guest: Guest, tmp_path: Path) -> None:
    one, two = guest(), guest()
    forged = frames.ipv4(OTHER, "10.9.9.9", "255.255.255.255", b"forged")
    assert arrived(host, one, two, tmp_path, forged) == [forged]


def test_a_forged_hardware_address_is_dropped(host: Host, guest: Guest, tmp_path: Path) -> None:
    one, two = guest(devices=nic(**{"security.mac_filtering": "true"})), guest()
    own, near = hwaddr(host, one), "fe80::1"
    honest = frames.ipv4(own, "10.9.9.9", "255.255.255.255", b"honest")
    forged = [
        frames.ipv4(OTHER, "10.9.9.9", "255.255.255.255", b"forged"),
        frames.arp(OTHER, own, "10.9.9.9", "10.9.9.1"),
        frames.arp(own, OTHER, "10.9.9.9", "10.9.9.1"),
        frames.advertisement(OTHER, near, near, own),
        frames.advertisement(own, near, near, OTHER),
        frames.advertisement(own, near, near, OTHER, before=bytes([58, 0, 1, 4, 0, 0, 0, 0]), next=60),
        frames.ipv6(own, near, "ff02::1", 135, bytes(4) + frames.ip_address(near).packed + b"\1\1" + frames.mac(OTHER)),
    ]
    assert arrived(host, one, two, tmp_path, *forged, honest) == [honest]


def test_a_forged_address_is_dropped_and_the_own_one_works(host: Host, guest: Guest, tmp_path: Path) -> None:
    filters = {"security.ipv4_filtering": "true", "security.ipv6_filtering": "true"}
    one, two = guest(devices=nic(**filters)), guest()
    own, ipv4, ipv6 = hwaddr(host, one), host.address_of(one), host.address_of(one, "inet6")
    victim = host.address_of(two, "inet6")
    honest = [
        frames.ipv4(own, ipv4, "255.255.255.255", b"honest"),
        frames.arp(own, own, ipv4, ipv4),
        frames.advertisement(own, ipv6, ipv6, own),
    ]
    forged = [
        frames.ipv4(own, "10.9.9.9", "255.255.255.255", b"forged"),
        frames.arp(own, own, "10.9.9.9", "10.9.9.1"),
        frames.advertisement(own, ipv6, victim, own),
        frames.ipv6(own, ipv6, "ff02::1", 134, bytes(12)),
        frames.ipv6(own, "fd00::9", "ff02::1", 128, bytes(4)),
        frames.ethernet(
            own, frames.BROADCAST, 0x8100, b"\0\5\x08\0" + frames.ipv4(own, "10.9.9.9", "10.9.9.1", b"tag")[14:]
        ),
        frames.ethernet(own, frames.BROADCAST, 0x88B5, b"anything else"),
    ]
    assert arrived(host, one, two, tmp_path, *forged, *honest) == honest
    assert host.exec(one, "ping", "-c", "1", "-W", "2", host.address_of(two)).returncode == 0
    ping = ("ping", "-6", "-c", "1", "-W", "1", victim)
    wait_until(lambda: host.exec(one, *ping, check=False).returncode == 0, what="the addresses are in use, and reached")

    host.power(one, "restart", force=True)
    assert host.address_of(one) == ipv4
    assert arrived(host, one, two, tmp_path, *forged[:2]) == []


def test_a_filter_is_set_and_lifted_on_a_running_guest(host: Host, guest: Guest, tmp_path: Path) -> None:
    one, two = guest(), guest()
    forged = frames.ipv4(OTHER, "10.9.9.9", "255.255.255.255", b"forged")
    host_name = host.get(f"/1.0/instances/{one}")["config"]["volatile.eth0.host_name"]

    change(host, one, security_mac__filtering="true")
    assert arrived(host, one, two, tmp_path, forged) == []
    assert f"table netdev hutch_{host_name}" in tables(host)
    host.restart()
    change(host, one, security_mac__filtering="false")
    assert arrived(host, one, two, tmp_path, forged) == [forged]
    assert f"table netdev hutch_{host_name}" not in tables(host)
    assert host.get(f"/1.0/instances/{one}")["config"]["volatile.eth0.host_name"] == host_name

    change(host, one, security_mac__filtering="true")
    host.power(one, "stop", force=True)
    assert f"table netdev hutch_{host_name}" not in tables(host)


def test_no_address_at_all_can_be_allowed(host: Host, guest: Guest, tmp_path: Path) -> None:
    keys = {"ipv6.address": "none", "security.ipv6_filtering": "true"}
    one, two = guest(devices=nic(**keys)), guest()
    near = frames.ipv6(hwaddr(host, one), "fe80::1", "ff02::1", 128, bytes(4))
    assert arrived(host, one, two, tmp_path, near) == []
    assert host.exec(one, "ping", "-c", "1", "-W", "2", host.address_of(two)).returncode == 0


def test_isolated_ports_reach_the_host_and_not_each_other(host: Host, guest: Guest) -> None:
    isolated = nic(**{"security.port_isolation": "true"})
    one, two = guest(devices=isolated), guest(devices=isolated)
    gateway = host.get(f"/1.0/networks/{NETWORK}")["config"]["ipv4.address"].partition("/")[0]
    address = host.address_of(two)
    host.address_of(one)
    host.exec(one, "ping", "-c", "1", "-W", "2", gateway)
    assert host.exec(one, "ping", "-c", "1", "-W", "1", address, check=False).returncode != 0
    change(host, two, security_port__isolation="false")
    host.exec(one, "ping", "-c", "1", "-W", "2", address)


def rate(host: Host, name: str, *, reverse: bool) -> float:
    """Megabits a second that iperf3 gets between the guest and the host; `reverse`: what the guest receives."""
    inside = ["nsenter", "-t", str(pid(host, name)), "-n"]
    gateway = host.get(f"/1.0/networks/{NETWORK}")["config"]["ipv4.address"].partition("/")[0]
    port = str(5300 + pid(host, name) % 500)
    server = subprocess.Popen(
        host.namespace.command("iperf3", "-s", "-1", "-p", port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: f":{port} " in host.run("ss", "-ltn").stdout, what="iperf3 listens")
        words = ["iperf3", "-J", "-c", gateway, "-p", port, "-t", "2", "-O", "1", *(["-R"] if reverse else [])]
        out = json.loads(
            subprocess.run([*inside, *words], capture_output=True, text=True, check=True, timeout=60).stdout
        )
        return float(out["end"]["sum_received"]["bits_per_second"]) / 1e6
    finally:
        server.wait(30)


@pytest.mark.skipif(shutil.which("iperf3") is None, reason="iperf3 is not installed")
def test_rates_hold_in_both_directions(host: Host, guest: Guest) -> None:
    name = guest(devices=nic(**{"limits.ingress": "80Mbit", "limits.egress": "40Mbit"}))
    host.address_of(name)
    assert rate(host, name, reverse=True) == pytest.approx(80, rel=0.1)
    assert rate(host, name, reverse=False) == pytest.approx(40, rel=0.1)
    change(host, name, limits_max="200Mbit")
    assert rate(host, name, reverse=False) == pytest.approx(200, rel=0.1)


def test_routes_to_a_guest_come_and_go(host: Host, guest: Guest) -> None:
    name = guest(devices=nic(**{"ipv4.routes": "192.0.2.0/24,198.51.100.7"}))

    def routes() -> set[str]:
        return {
            line.split()[0]
            for line in host.run("ip", "route", "show", "dev", NETWORK, "proto", "static").stdout.splitlines()
        }

    assert routes() == {"192.0.2.0/24", "198.51.100.7"}
    change(host, name, ipv4_routes="192.0.2.0/24,203.0.113.0/24")
    assert routes() == {"192.0.2.0/24", "203.0.113.0/24"}
    with pytest.raises(ApiError, match="the host has a route to"):
        guest(devices=nic(**{"ipv4.routes": "192.0.2.0/24"}))
    host.power(name, "stop", force=True)
    assert routes() == set()


def test_names_mtu_and_queue_are_as_asked(host: Host, guest: Guest) -> None:
    keys = {"host_name": "my-nic0", "mtu": "1400", "queue.tx.length": "321"}
    name = guest(devices=nic(**keys))
    outside = json.loads(host.run("ip", "-j", "link", "show", "my-nic0").stdout)[0]
    assert (outside["mtu"], outside["txqlen"], outside["master"]) == (1400, 321, NETWORK)
    assert host.exec(name, "cat", "/sys/class/net/eth0/mtu").stdout == "1400\n"
    host.power(name, "stop", force=True)
    assert "my-nic0" not in links(host)


def test_the_priority_of_an_instance_reaches_its_nics(host: Host, guest: Guest) -> None:
    name = guest(config={"limits.network.priority": "3"})
    host_name = host.get(f"/1.0/instances/{name}")["config"]["volatile.eth0.host_name"]
    assert "priority set" in host.run("nft", "list", "table", "netdev", f"hutch_{host_name}").stdout
    host.call("PATCH", f"/1.0/instances/{name}", {"config": {"limits.network.priority": ""}})
    assert f"table netdev hutch_{host_name}" not in tables(host)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"limits.ingress": "fast"}, "invalid rate"),
        ({"limits.priority": "11"}, "invalid priority"),
        ({"ipv4.routes": "10.0.0.1/8"}, "not an IPv4 subnet"),
        ({"queue.tx.length": "-1"}, "length of a queue"),
        ({"ipv4.address": "none"}, "none is for security.ipv4_filtering"),
    ],
)
def test_nics_that_make_no_sense_are_refused(host: Host, keys: dict[str, str], reason: str) -> None:
    document = {"name": "nics", "source": {"type": "image", "alias": "busybox"}, "devices": nic(**keys)}
    with pytest.raises(ApiError, match=reason) as error:
        host.call("POST", "/1.0/instances", document)
    assert error.value.code == 400
