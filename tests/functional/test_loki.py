"""Events are forwarded to a Loki server as it wants them, and nothing hangs on whether it is there."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.hosts import ApiError, Host
from tests.hosts.waiting import wait_until

PORT = 3190
OFF = {f"loki.{key}": "" for key in ("api.url", "auth.username", "auth.password", "instance", "labels", "types")}
Received = list[tuple[str, str, dict[str, Any]]]


@pytest.fixture
def receive(host: Host) -> Iterator[Callable[[], Received]]:
    """Starts a server in the host's network; answers the list of what it received: path, authorization, document."""
    servers = []

    def start() -> Received:
        received: Received = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.path, self.headers.get("Authorization", ""), json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        with host.namespace.entered():
            server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        servers.append((server, thread))
        return received

    yield start
    host.call("PATCH", "/1.0", {"config": OFF})
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def _lines(received: Received) -> list[tuple[dict[str, str], str]]:
    return [
        (each["stream"], line)
        for *_, document in received
        for each in document["streams"]
        for _, line in each["values"]
    ]


def test_events_arrive_with_labels_and_credentials(host: Host, receive: Callable[[], Received]) -> None:
    received = receive()
    config = {
        "loki.api.url": f"http://127.0.0.1:{PORT}",
        "loki.auth.username": "me",
        "loki.auth.password": "secret",
        "loki.instance": "here",
        "loki.labels": "action",
        "loki.types": "lifecycle",
    }
    host.call("PATCH", "/1.0", {"config": config})
    assert host.get("/1.0")["config"]["loki.auth.password"] == "true"
    host.call("POST", "/1.0/profiles", {"name": "loki"})
    host.call("DELETE", "/1.0/profiles/loki")

    wait_until(lambda: any("profile-deleted" in line for _, line in _lines(received)), 20, what="the events arrived")
    path, authorization, document = received[-1]
    assert path == "/loki/api/v1/push"
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"me:secret"
    labels, line = next(each for each in _lines(received) if "profile-created" in each[1])
    assert labels == {
        "app": "lxd",
        "type": "lifecycle",
        "location": "none",
        "instance": "here",
        "action": "profile-created",
    }
    assert 'source="/1.0/profiles/loki"' in line
    assert 'requester-username="root"' in line
    moment = int(document["streams"][-1]["values"][-1][0]) / 1e9
    assert abs(moment - time.time()) < 60


def test_a_server_that_comes_late_gets_what_happened_meanwhile(host: Host, receive: Callable[[], Received]) -> None:
    host.call("PATCH", "/1.0", {"config": {"loki.api.url": f"http://127.0.0.1:{PORT}", "loki.types": "lifecycle"}})
    host.call("POST", "/1.0/profiles", {"name": "early"})
    host.call("DELETE", "/1.0/profiles/early")
    time.sleep(2)

    received = receive()

    wait_until(lambda: any("profile-deleted" in line for _, line in _lines(received)), 30, what="the events arrived")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"loki.api.url": "127.0.0.1:3100"}, "invalid URL"),
        ({"loki.types": "lifecycle,nonsense"}, "unknown type of events 'nonsense'"),
        ({"loki.loglevel": "loud"}, "not one of debug"),
        ({"loki.api.ca_cert": "no certificate"}, "PEM"),
    ],
)
def test_settings_that_make_no_sense_are_refused(host: Host, config: dict[str, str], reason: str) -> None:
    with pytest.raises(ApiError, match=reason):
        host.call("PATCH", "/1.0", {"config": config})
