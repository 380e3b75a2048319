"""Proxy devices: both directions, every kind of socket, over restarts of guest, daemon and the program that carries them."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.functional.test_network import tables
from tests.hosts import ApiError, Host, wait_until
from tests.hosts.host import NETWORK

Guest = Callable[..., str]

# Speaks to whoever connects to ADDRESS: says what it was told, in capitals.
_ECHO = """
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_UNIX if kind == "unix" else socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as server:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("\\0" + host[1:] if host[0] == "@" else host) if kind == "unix" else (host, port))
    if kind != "udp":
        server.listen(50)
    print("ready", flush=True)
    while kind == "udp":
        data, sender = server.recvfrom(65536)
        server.sendto(data.upper(), sender)
    while True:
        with server.accept()[0] as caller:
            said = b""
            while data := caller.recv(65536):
                said += data
            caller.sendall(said.upper())
"""
_SAY = """
import socket, sys
kind, host, port, text = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.stdin.buffer.read()
family = socket.AF_UNIX if kind == "unix" else socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as caller:
    caller.settimeout(10)
    caller.connect(("\\0" + host[1:] if host[0] == "@" else host) if kind == "unix" else (host, port))
    caller.sendall(text)
    if kind == "udp":
        print(caller.recv(65536).decode(), end="")
    else:
        caller.shutdown(socket.SHUT_WR)
        while data := caller.recv(65536):
            sys.stdout.buffer.write(data)
"""


def inside(host: Host, name: str) -> list[str]:
    """Runs a program of the host in the guest's network and, for Unix sockets, below its root."""
    return ["nsenter", "-t", str(host.state(name)["pid"]), "-n"]


@contextmanager
def echo(where: list[str], kind: str, address: str, port: int = 0) -> Iterator[None]:
    words = [*where, "python3", "-I", "-c", _ECHO, kind, address, str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


def say(where: list[str], kind: str, address: str, port: int = 0, text: str = "hello") -> str:
    words = [*where, "python3", "-I", "-c", _SAY, kind, address, str(port)]
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout or done.stderr.splitlines()[-1] if done.stdout or done.stderr else ""


def proxy(listen: str, connect: str, **more: str) -> dict[str, dict[str, str]]:
    keys = {key.replace("_", ".") if key.startswith("security") else key: value for key, value in more.items()}
    return {"door": {"type": "proxy", "listen": listen, "connect": connect, **keys}}


def test_ports_of_the_host_lead_into_the_guest(host: Host, guest: Guest) -> None:
    name = guest(devices=proxy("tcp:127.0.0.1:7001,7003-7004", "tcp:127.0.0.1:81,83-84"))
    here = host.namespace.command()
    with echo(inside(host, name), "tcp", "127.0.0.1", 81), echo(inside(host, name), "tcp", "127.0.0.1", 84):
        assert say(here, "tcp", "127.0.0.1", 7001) == "HELLO"
        assert say(here, "tcp", "127.0.0.1", 7004) == "HELLO"
        long = "much " * 1_000_000
        assert say(here, "tcp", "127.0.0.1", 7001, long) == long.upper()
    assert "HELLO" not in say(here, "tcp", "127.0.0.1", 7003)


def test_proxies_outlive_the_daemon_and_come_back_after_all_else(host: Host, guest: Guest) -> None:
    name = guest(devices=proxy("tcp:[::1]:7010", "tcp:127.0.0.1:80"))
    here = host.namespace.command()

    def answers() -> bool:
        return say(here, "tcp", "::1", 7010) == "HELLO"

    with echo(inside(host, name), "tcp", "127.0.0.1", 80):
        host.stop()
        assert answers()
        host.start()
        assert answers()
        carrier = _carrier(host)
        os.kill(carrier, signal.SIGKILL)
        wait_until(answers, what="another program carries the proxy")
    host.power(name, "restart", force=True)
    with echo(inside(host, name), "tcp", "127.0.0.1", 80):
        assert answers()
    host.power(name, "stop", force=True)
    assert "Connection refused" in say(here, "tcp", "::1", 7010)
    wait_until(lambda: not _is_carried(host), what="the program has ended or has no proxy")


def _carrier(host: Host) -> int:
    found = [pid for pid in host.namespace.members() if "helper/proxies.py" in _command(pid)]
    assert len(found) == 1, "one program carries all"
    return found[0]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _is_carried(host: Host) -> bool:
    return "7010" in host.run("ss", "-ltn").stdout


def test_a_proxy_is_plugged_changed_and_unplugged_live(host: Host, guest: Guest) -> None:
    name = guest()
    here = host.namespace.command()
    with echo(inside(host, name), "tcp", "127.0.0.1", 80):
        host.call("PATCH", f"/1.0/instances/{name}", {"devices": proxy("tcp:127.0.0.1:7020", "tcp:127.0.0.1:80")})
        assert say(here, "tcp", "127.0.0.1", 7020) == "HELLO"
        host.call("PATCH", f"/1.0/instances/{name}", {"devices": proxy("tcp:127.0.0.1:7021", "tcp:127.0.0.1:80")})
        assert "refused" in say(here, "tcp", "127.0.0.1", 7020)
        assert say(here, "tcp", "127.0.0.1", 7021) == "HELLO"
        with pytest.raises(ApiError, match=r"cannot listen on tcp:127.0.0.1:7021: Address already in use"):
            guest(devices=proxy("tcp:127.0.0.1:7021", "tcp:127.0.0.1:80"))
        document = host.get(f"/1.0/instances/{name}")
        del document["devices"]["door"]
        host.call("PUT", f"/1.0/instances/{name}", document)
        assert "refused" in say(here, "tcp", "127.0.0.1", 7021)


def test_the_guest_reaches_services_of_the_host(host: Host, guest: Guest, tmp_path: Path) -> None:
    listen = "unix:/run/door"
    config = {"bind": "instance", "uid": "5", "gid": "7", "mode": "0620"}
    with echo(host.namespace.command(), "unix", str(tmp_path / "service")):
        name = guest(devices=proxy(listen, f"unix:{tmp_path}/service", **config))
        assert host.exec(name, "stat", "-c", "%u %g %a", "/run/door").stdout == "5 7 620\n"
        root = f"/proc/{host.state(name)['pid']}/root/run/door"
        assert say(host.namespace.command(), "unix", root) == "HELLO"
    with echo(host.namespace.command(), "tcp", "127.0.0.1", 7030):
        other = guest(devices=proxy("tcp:127.0.0.1:80", "tcp:127.0.0.1:7030", bind="instance"))
        assert say(inside(host, other), "tcp", "127.0.0.1", 80) == "HELLO"


def test_abstract_sockets_and_datagrams(host: Host, guest: Guest) -> None:
    name = guest(devices=proxy("udp:127.0.0.1:7040", "udp:127.0.0.1:53"))
    here = host.namespace.command()
    with echo(inside(host, name), "udp", "127.0.0.1", 53):
        assert say(here, "udp", "127.0.0.1", 7040) == "HELLO"
        assert say(here, "udp", "127.0.0.1", 7040, "again") == "AGAIN"
    abstract = guest(devices=proxy("unix:@hutch-test-door", "unix:@inside"))
    with echo(inside(host, abstract), "unix", "@inside"):
        assert say(here, "unix", "@hutch-test-door") == "HELLO"


def test_the_target_learns_who_called(host: Host, guest: Guest) -> None:
    name = guest(devices=proxy("tcp:127.0.0.1:7050", "tcp:127.0.0.1:80", proxy_protocol="true"))
    with echo(inside(host, name), "tcp", "127.0.0.1", 80):
        said = say(host.namespace.command(), "tcp", "127.0.0.1", 7050)
    assert said.startswith("PROXY TCP4 127.0.0.1 127.0.0.1 ")
    assert said.endswith(" 7050\nHELLO")


def test_nat_is_done_by_the_kernel(host: Host, guest: Guest) -> None:
    config = host.get(f"/1.0/networks/{NETWORK}")["config"]
    subnet = config["ipv4.address"].rpartition(".")[0]
    nic = {"type": "nic", "network": NETWORK, "name": "eth0", "ipv4.address": f"{subnet}.200"}
    host.run("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
    devices = {"eth0": nic, **proxy("tcp:192.0.2.1:7060-7061", f"tcp:{subnet}.200:80-81", nat="true")}
    before = tables(host)
    name = guest(devices=devices)
    host.address_of(name)
    with echo(inside(host, name), "tcp", f"{subnet}.200", 81):
        assert say(host.namespace.command(), "tcp", "192.0.2.1", 7061) == "HELLO"
        other = guest()
        host.address_of(other)
        assert say(inside(host, other), "tcp", "192.0.2.1", 7061) == "HELLO"
    host.power(name, "stop", force=True)
    assert tables(host) == before
    with pytest.raises(ApiError, match=r"no nic of the instance has the static address 10.0.0.9"):
        guest(devices=proxy("tcp:192.0.2.1:7062", "tcp:10.0.0.9:80", nat="true"))
    host.run("ip", "address", "delete", "192.0.2.1/32", "dev", "lo")


def test_many_connections_at_once(host: Host, guest: Guest) -> None:
    name = guest(devices=proxy("tcp:127.0.0.1:7070", "tcp:127.0.0.1:80"))
    with echo(inside(host, name), "tcp", "127.0.0.1", 80):
        answers: list[str] = []
        threads = [
            threading.Thread(
                target=lambda text: answers.append(say(host.namespace.command(), "tcp", "127.0.0.1", 7070, text)),
                args=(f"caller {number}",),
            )
            for number in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == sorted(f"CALLER {number}" for number in range(20))
    spent = _ticks(_carrier(host))
    time.sleep(0.5)
    assert _ticks(_carrier(host)) - spent < 10, "it rests when nothing happens"


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_link_in_the_guest_does_not_lead_to_a_socket_of_the_host(host: Host, guest: Guest, tmp_path: Path) -> None:
    name = guest(devices=proxy("tcp:127.0.0.1:7080", "unix:/run/trap/service"))
    with closing(socket.socket(socket.AF_UNIX)) as secret:
        secret.bind(str(tmp_path / "service"))
        secret.listen(5)
        secret.settimeout(0.5)
        host.exec(name, "ln", "-s", f"../../../../../../../..{tmp_path}", "/run/trap")
        assert "HELLO" not in say(host.namespace.command(), "tcp", "127.0.0.1", 7080)
        with pytest.raises(TimeoutError):
            secret.accept()


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"listen": "tcp:127.0.0.1:80"}, "the key connect is required"),
        ({"listen": "http:1", "connect": "tcp:127.0.0.1:1"}, "unix:PATH is expected"),
        ({"listen": "tcp:nowhere:80", "connect": "tcp:127.0.0.1:1"}, "is not an IP address"),
        ({"listen": "tcp:127.0.0.1:0", "connect": "tcp:127.0.0.1:1"}, "ports are 1 to 65535"),
        ({"listen": "tcp:127.0.0.1:1-3", "connect": "tcp:127.0.0.1:1-2"}, "2 ports for 3"),
        ({"listen": "udp:127.0.0.1:1", "connect": "tcp:127.0.0.1:1"}, "udp can be proxied to udp only"),
        ({"listen": "unix:/a/../b", "connect": "tcp:127.0.0.1:1"}, "an absolute path"),
        ({"listen": "tcp:127.0.0.1:1", "connect": "tcp:127.0.0.1:1", "mode": "0600"}, "listening Unix sockets"),
        ({"listen": "tcp:0.0.0.0:1", "connect": "tcp:10.0.0.1:1", "nat": "true"}, "NAT needs one address"),
        ({"listen": "tcp:10.0.0.1:1", "connect": "tcp:[fd00::1]:1", "nat": "true"}, "Cannot mix IP versions"),
    ],
)
def test_proxies_that_make_no_sense_are_refused(host: Host, keys: dict[str, str], reason: str) -> None:
    devices = {"door": {"type": "proxy", **keys}}
    document = {"name": "proxies", "source": {"type": "image", "alias": "busybox"}, "devices": devices}
    with pytest.raises(ApiError, match=reason) as error:
        host.call("POST", "/1.0/instances", document)
    assert error.value.code == 400
