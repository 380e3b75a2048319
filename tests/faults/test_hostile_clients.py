"""Clients that mean no good: the daemon's memory stays bounded, and others are served meanwhile."""

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts import Host
from tests.hosts.waiting import wait_until

PORT = 8450
MEBI = 1 << 20


@pytest.fixture(scope="module")
def served(host: Host) -> Iterator[Host]:
    """The shared host, with HTTPS."""
    host.call("PATCH", "/1.0", {"config": {"core.https_address": f"127.0.0.1:{PORT}"}})
    yield host
    host.call("PATCH", "/1.0", {"config": {"core.https_address": ""}})


def _memory(host: Host) -> int:
    """The daemon's resident memory, in bytes."""
    assert host.daemon is not None
    (line,) = [each for each in Path(f"/proc/{host.daemon.pid}/status").read_text().splitlines() if "VmRSS" in each]
    return int(line.split()[1]) * 1024


def _others_are_served(host: Host) -> None:
    began = time.monotonic()
    assert host.get("/1.0")["auth"] == "trusted"
    assert time.monotonic() - began < 5


@pytest.fixture
def dial(served: Host) -> Iterator[Callable[[], ssl.SSLSocket]]:
    """Makes connections by HTTPS from inside the host's network; they are closed after the test."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(served.namespace.entered())

        def one() -> ssl.SSLSocket:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            plain = socket.create_connection(("127.0.0.1", PORT), timeout=30)
            return stack.enter_context(context.wrap_socket(plain))

        yield one


def _answer(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while block := connection.recv(65536):
            found += block
    return found


def test_a_body_without_end_is_cut_off(host: Host) -> None:
    before = _memory(host)

    for path in ("/1.0/instances", "/1.0/profiles", "/1.0/certificates"):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(host.api.path))
            client.sendall(f"POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            block = b"100000\r\n" + b" " * MEBI + b"\r\n"
            with contextlib.suppress(OSError):
                for _ in range(200):
                    client.sendall(block)
            with contextlib.suppress(OSError):
                assert client.recv(65536).startswith(b"HTTP/1.1 413")
        _others_are_served(host)
    status, _, body = host.api.raw("POST", "/1.0/profiles", b'{"name": "' + b"x" * (17 * MEBI) + b'"}')
    assert (status, json.loads(body)["error_code"]) == (413, 413)
    assert _memory(host) - before < 100 * MEBI


def test_ten_thousand_idle_connections_keep_nobody_out(host: Host) -> None:
    before = _memory(host)
    with contextlib.ExitStack() as stack:
        for number in range(10_000):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(host.api.path))
            if number % 1000 == 0:
                _others_are_served(host)
        _others_are_served(host)
        assert _memory(host) - before < 400 * MEBI
    wait_until(lambda: _descriptors(host) < 1000, 30, what="the connections are let go")


def _descriptors(host: Host) -> int:
    assert host.daemon is not None
    return sum(1 for _ in Path(f"/proc/{host.daemon.pid}/fd").iterdir())


def test_who_sends_slowly_by_https_is_hung_up_on(served: Host, dial: Callable[[], ssl.SSLSocket]) -> None:
    slow = [dial() for _ in range(50)]
    began = time.monotonic()
    for each in slow:
        each.sendall(b"GET /1.0 HTTP/1.1\r\nHost: h\r\nX-Slow: ")
    _others_are_served(served)

    for each in slow:
        assert _answer(each) == b""
    assert 8 < time.monotonic() - began < 40


def test_a_stranger_has_one_request_a_connection_and_a_short_one(
    served: Host, dial: Callable[[], ssl.SSLSocket]
) -> None:
    asks = dial()
    asks.sendall(b"GET /1.0 HTTP/1.1\r\nHost: h\r\n\r\n")
    head, _, body = _answer(asks).partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["metadata"]["auth"] == "untrusted"

    long = dial()
    long.sendall(b"POST /1.0/certificates HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n" + b" " * 70_000)
    assert _answer(long).startswith(b"HTTP/1.1 413")


def test_wrong_secrets_open_nothing_and_harm_nobody(host: Host, guest: Callable[..., str]) -> None:
    name = guest()
    wanted = {"command": ["sleep", "60"], "wait-for-websocket": True, "interactive": False}
    operation = host.api.begin("POST", f"/1.0/instances/{name}/exec", wanted)["metadata"]
    before = _memory(host)

    for number in range(300):
        status, _, _ = host.api.raw("GET", f"/1.0/operations/{operation['id']}/websocket?secret={number:064x}")
        assert status == 403
    assert host.get(f"/1.0/operations/{operation['id']}")["status_code"] < 400
    assert _memory(host) - before < 20 * MEBI


def test_websockets_that_are_left_half_open_hold_nothing_up(host: Host) -> None:
    key = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    before = _memory(host)
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(30)
            client.connect(str(host.api.path))
            client.sendall(b"GET /1.0/events HTTP/1.1\r\nHost: h\r\n" + key + b"\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 101")
            client.shutdown(socket.SHUT_WR)
        for number in range(20):
            host.call("PATCH", "/1.0", {"config": {"user.noise": str(number)}})
        host.call("PATCH", "/1.0", {"config": {"user.noise": ""}})
        _others_are_served(host)
    assert _memory(host) - before < 50 * MEBI
    wait_until(lambda: _descriptors(host) < 300, 30, what="the websockets are let go")
