"""DNS zones: what other name servers get when they ask for one, and who may."""

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.functional.test_network import network
from tests.hosts import ApiError, Host

__all__ = ["network"]

Guest = Callable[..., str]
ZONES = "/1.0/network-zones"
PORT = 5399

# Asks for all of a zone by TCP: prints NAME TYPE DATA of each record, or the error code.
_TRANSFER = """
import socket, struct, sys
zone, server, kind = sys.argv[1], sys.argv[2], int(sys.argv[3])
name = b"".join(bytes([len(part)]) + part.encode() for part in zone.split(".")) + b"\\0"
with socket.create_connection((server, 5399), timeout=10) as way:
    question = struct.pack("!HHHHHH", 7, 0, 1, 0, 0, 0) + name + struct.pack("!HH", kind, 1)
    way.sendall(struct.pack("!H", len(question)) + question)
    data = b""
    while more := way.recv(65536):
        data += more
def read(message, at):
    labels = []
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].decode())
        at += message[at] + 1
    return ".".join(labels), at + 1
while data:
    size = struct.unpack_from("!H", data)[0]
    message, data = data[2:2 + size], data[2 + size:]
    _, flags, questions, answers = struct.unpack_from("!HHHH", message)
    if flags & 15:
        print("error", flags & 15)
    at = read(message, 12)[1] + 4
    for _ in range(answers):
        name, at = read(message, at)
        kind, _, ttl, length = struct.unpack_from("!HHIH", message, at)
        value = message[at + 10:at + 10 + length]
        at += 10 + length
        shown = ".".join(map(str, value)) if kind == 1 else value.hex()
        if kind in (2, 5, 12):
            shown = read(value, 0)[0]
        print(name, kind, ttl, shown)
"""


def transferred(host: Host, zone: str, server: str = "127.0.0.1", kind: int = 252) -> list[str]:
    words = host.namespace.command("python3", "-I", "-c", _TRANSFER, zone, server, str(kind))
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout.splitlines()


@pytest.fixture
def zone(host: Host) -> Iterator[Callable[..., str]]:
    """Makes zones that the host itself may fetch; deleted after the test. To be asked for before `network` and `guest`."""
    names: list[str] = []
    host.call("PATCH", "/1.0", {"config": {"core.dns_address": f"127.0.0.1:{PORT}"}})

    def make(name: str, **config: str) -> str:
        peer = {"peers.me.address": "127.0.0.1"}
        host.call("POST", ZONES, {"name": name, "config": {**peer, **config}})
        names.append(name)
        return name

    yield make
    for name in names:
        host.call("DELETE", f"{ZONES}/{name}")
    host.call("PATCH", "/1.0", {"config": {"core.dns_address": ""}})


def test_guests_are_in_the_zone_and_their_addresses_in_the_reverse_one(
    host: Host, zone: Callable[..., str], network: Callable[..., str], guest: Guest
) -> None:
    forward, back = zone("lan.example.org", **{"dns.nameservers": "ns1.example.org"}), zone("1.207.10.in-addr.arpa")
    name = network(ipv4_address="10.207.1.1/24", ipv6_address="none")
    host.call(
        "PATCH", f"/1.0/networks/{name}", {"config": {"dns.zone.forward": forward, "dns.zone.reverse.ipv4": back}}
    )
    made = guest(devices={"eth0": {"type": "nic", "network": name, "name": "eth0", "ipv4.address": "10.207.1.7"}})
    host.address_of(made)

    lines = transferred(host, forward)
    assert f"{made}.lan.example.org 1 300 10.207.1.7" in lines
    assert f"{name}.gw.lan.example.org 1 300 10.207.1.1" in lines
    assert "lan.example.org 2 300 ns1.example.org" in lines
    assert lines[0] == lines[-1]
    assert lines[0].startswith("lan.example.org 6 300 ")
    assert f"7.1.207.10.in-addr.arpa 12 300 {made}.lan.example.org" in transferred(host, back)
    assert host.get(f"{ZONES}/{forward}")["used_by"] == [f"/1.0/networks/{name}"]
    with pytest.raises(ApiError, match="in use"):
        host.call("DELETE", f"{ZONES}/{forward}")

    host.restart()
    assert f"{made}.lan.example.org 1 300 10.207.1.7" in transferred(host, forward)


def test_records_by_hand_are_in_the_zone(host: Host, zone: Callable[..., str]) -> None:
    name = zone("hand.example.org")
    entries = [
        {"type": "A", "value": "192.0.2.7", "ttl": 60},
        {"type": "MX", "value": "10 mail.example.org."},
        {"type": "TXT", "value": "words of any kind"},
        {"type": "SRV", "value": "1 2 443 web.example.org."},
    ]
    host.call("POST", f"{ZONES}/{name}/records", {"name": "www", "entries": entries})
    lines = transferred(host, name)
    assert "www.hand.example.org 1 60 192.0.2.7" in lines
    text = bytes([17]) + b"words of any kind"
    assert f"www.hand.example.org 16 300 {text.hex()}" in lines
    host.call("PATCH", f"{ZONES}/{name}/records/www", {"entries": [{"type": "CNAME", "value": "web.example.org."}]})
    assert "www.hand.example.org 5 300 web.example.org" in transferred(host, name)
    assert host.get(f"{ZONES}/{name}/records") == [f"{ZONES}/{name}/records/www"]
    host.call("DELETE", f"{ZONES}/{name}/records/www")
    assert "www" not in "".join(transferred(host, name))


def test_only_peers_may_fetch_a_zone(host: Host, zone: Callable[..., str]) -> None:
    name = zone("mine.example.org", **{"peers.me.address": "192.0.2.1"})
    assert transferred(host, name) == ["error 5"]
    assert transferred(host, "nobody.example.org") == ["error 5"]
    host.call("PATCH", f"{ZONES}/{name}", {"config": {"peers.me.address": "127.0.0.1"}})
    assert len(transferred(host, name)) == 3
    assert transferred(host, name, kind=1) == ["error 5"], "it is no resolver"


def test_the_soa_is_answered_by_udp_and_nonsense_is_survived(host: Host, zone: Callable[..., str]) -> None:
    name = zone("soa.example.org")
    ask = f"""
import socket, struct
name = b"".join(bytes([len(part)]) + part.encode() for part in "{name}".split(".")) + b"\\0"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
    way.settimeout(10)
    way.connect(("127.0.0.1", {PORT}))
    for nonsense in (b"", b"x", b"\\xff" * 40):
        way.send(nonsense)
    way.send(struct.pack("!HHHHHH", 7, 0, 1, 0, 0, 0) + name + struct.pack("!HH", 6, 1))
    print(struct.unpack_from("!HHHH", way.recv(65536))[3])
"""
    assert host.run("python3", "-I", "-c", ask).stdout == "1\n"


@pytest.mark.parametrize(
    ("path", "wanted", "reason"),
    [
        ("", {"name": "bad name"}, "invalid domain name"),
        ("", {"name": "x.org", "config": {"peers.a.key": "secret"}}, "peers.NAME.address is expected"),
        ("", {"name": "x.org", "config": {"peers.a.address": "here"}}, "not an IP address"),
        ("", {"name": "x.org", "config": {"colour": "blue"}}, "Unknown configuration key"),
        (
            "/bad.example.org/records",
            {"name": "www", "entries": [{"type": "A", "value": "here"}]},
            "for a record of type A",
        ),
        (
            "/bad.example.org/records",
            {"name": "www", "entries": [{"type": "ANY", "value": "x"}]},
            "Invalid record type",
        ),
        ("/bad.example.org/records", {"name": "w w"}, "invalid domain name"),
    ],
)
def test_what_makes_no_sense_is_refused(
    host: Host, zone: Callable[..., str], path: str, wanted: dict[str, object], reason: str
) -> None:
    zone("bad.example.org")
    with pytest.raises(ApiError, match=reason) as error:
        host.call("POST", f"{ZONES}{path}", wanted)
    assert error.value.code == 400


def test_a_zone_that_is_absent_is_refused(host: Host, network: Callable[..., str]) -> None:
    with pytest.raises(ApiError, match=r"Network zone 'absent.org' does not exist"):
        host.call("POST", "/1.0/networks", {"name": "net0", "config": {"dns.zone.forward": "absent.org"}})


def test_zones_by_command(host: Host) -> None:
    for run in (host.hutch, host.lxc):
        run("network", "zone", "create", "cmd.example.org", "user.owner=ann")
        assert run("network", "zone", "get", "cmd.example.org", "user.owner").stdout == "ann\n"
        run("network", "zone", "record", "create", "cmd.example.org", "www")
        run("network", "zone", "record", "entry", "add", "cmd.example.org", "www", "A", "192.0.2.7", "--ttl", "30")
        assert "192.0.2.7" in run("network", "zone", "record", "show", "cmd.example.org", "www").stdout
        assert "www" in run("network", "zone", "record", "list", "cmd.example.org").stdout
        run("network", "zone", "record", "entry", "remove", "cmd.example.org", "www", "A", "192.0.2.7")
        run("network", "zone", "record", "delete", "cmd.example.org", "www")
        assert "cmd.example.org" in run("network", "zone", "list").stdout
        run("network", "zone", "delete", "cmd.example.org")
