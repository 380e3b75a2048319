"""Forwards: what comes for an address goes to guests, by port or all of it."""

from collections.abc import Callable, Iterator

import pytest

from tests.functional.test_network import tables
from tests.functional.test_proxy import echo, inside, say
from tests.hosts import ApiError, Host
from tests.hosts.host import NETWORK

Guest = Callable[..., str]
FORWARDS = f"/1.0/networks/{NETWORK}/forwards"
LISTEN = "192.0.2.9"


@pytest.fixture
def address(host: Host) -> Iterator[str]:
    """An address of the host that nothing listens on."""
    host.run("ip", "address", "add", f"{LISTEN}/32", "dev", "lo")
    yield LISTEN
    if host.api.exists(f"{FORWARDS}/{LISTEN}"):
        host.call("DELETE", f"{FORWARDS}/{LISTEN}")
    host.run("ip", "address", "delete", f"{LISTEN}/32", "dev", "lo")


def test_ports_go_to_guests_and_the_rest_to_the_default(host: Host, guest: Guest, address: str) -> None:
    web, other = guest(), guest()
    targets = [host.address_of(each) for each in (web, other)]
    port = {"protocol": "tcp", "listen_port": "80,90-91", "target_port": "8080,8090-8091", "target_address": targets[0]}
    wanted = {"listen_address": address, "config": {"target_address": targets[1]}, "ports": [port]}
    host.call("POST", FORWARDS, wanted)
    here = host.namespace.command()

    with echo(inside(host, web), "tcp", targets[0], 8080), echo(inside(host, other), "tcp", targets[1], 443):
        assert say(here, "tcp", address, 80) == "HELLO"
        assert say(here, "tcp", address, 443) == "HELLO"
        assert say(inside(host, other), "tcp", address, 80) == "HELLO", "guests of the same network reach it too"
        host.restart()
        assert say(here, "tcp", address, 80) == "HELLO"
        host.call("PATCH", f"{FORWARDS}/{address}", {"ports": []})
        assert "refused" in say(here, "tcp", address, 80)
        assert say(here, "tcp", address, 443) == "HELLO"
    host.call("DELETE", f"{FORWARDS}/{address}")
    assert f"table inet hutch_{NETWORK}/forward" not in tables(host)
    assert "refused" in say(here, "tcp", address, 443)


def test_forwards_are_listed_shown_and_edited_with_their_etag(host: Host, address: str) -> None:
    host.call("POST", FORWARDS, {"listen_address": address, "description": "one"})
    assert host.get(FORWARDS) == [f"{FORWARDS}/{address}"]
    assert host.get(f"{FORWARDS}?recursion=1")[0]["description"] == "one"
    _, headers, _ = host.api.raw("GET", f"{FORWARDS}/{address}")
    host.call("PUT", f"{FORWARDS}/{address}", {"description": "two"}, headers={"If-Match": headers["etag"]})
    with pytest.raises(ApiError) as error:
        host.call("PUT", f"{FORWARDS}/{address}", {"description": "3"}, headers={"If-Match": headers["etag"]})
    assert error.value.code == 412
    with pytest.raises(ApiError, match="exists already") as error:
        host.call("POST", FORWARDS, {"listen_address": address})
    assert error.value.code == 409


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"listen_address": "here"}, "an IP address is expected"),
        ({"listen_address": "0.0.0.0"}, "cannot be forwarded"),
        ({"config": {"target_address": "10.9.9.9"}}, "not within the network subnet"),
        ({"config": {"colour": "blue"}}, "Unknown configuration key"),
        ({"ports": [{"protocol": "sctp", "listen_port": "80"}]}, "Invalid port protocol"),
        ({"ports": [{"protocol": "tcp", "listen_port": "80"}]}, "needs a target_address"),
        ({"ports": [{"protocol": "tcp", "listen_port": "99999", "target_address": "GUEST"}]}, "ports are 1 to 65535"),
        (
            {"ports": [{"protocol": "tcp", "listen_port": "1-3", "target_port": "1-2", "target_address": "GUEST"}]},
            "not as many",
        ),
        ({"ports": [{"protocol": "tcp", "listen_port": "1,1", "target_address": "GUEST"}]}, "Duplicate listen port 1"),
    ],
)
def test_forwards_that_make_no_sense_are_refused(host: Host, wanted: dict[str, object], reason: str) -> None:
    subnet = host.get(f"/1.0/networks/{NETWORK}")["config"]["ipv4.address"].rpartition(".")[0]
    for port in wanted.get("ports", []):  # type: ignore[attr-defined]
        port["target_address"] = port.get("target_address", "").replace("GUEST", f"{subnet}.9")
    with pytest.raises(ApiError, match=reason) as error:
        host.call("POST", FORWARDS, {"listen_address": LISTEN, **wanted})
    assert error.value.code == 400
    assert host.get(FORWARDS) == []


def test_forwards_by_command(host: Host, guest: Guest, address: str) -> None:
    name = guest()
    target = host.address_of(name)
    for run in (host.hutch, host.lxc):
        run("network", "forward", "create", NETWORK, address)
        run("network", "forward", "port", "add", NETWORK, address, "tcp", "70", target, "71")
        run("network", "forward", "port", "add", NETWORK, address, "udp", "72", target)
        run("network", "forward", "set", NETWORK, address, f"target_address={target}")
        assert run("network", "forward", "get", NETWORK, address, "target_address").stdout == f"{target}\n"
        assert 'target_port: "71"' in run("network", "forward", "show", NETWORK, address).stdout.replace("'", '"')
        assert address in run("network", "forward", "list", NETWORK).stdout
        with echo(inside(host, name), "tcp", target, 71):
            assert say(host.namespace.command(), "tcp", address, 70) == "HELLO"
        run("network", "forward", "port", "remove", NETWORK, address, "tcp", "70")
        run("network", "forward", "unset", NETWORK, address, "target_address")
        run("network", "forward", "delete", NETWORK, address)
