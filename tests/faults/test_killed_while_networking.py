"""kill -9 of the daemon at any moment while links, bridges and rules are made or removed."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.functional.test_network import links, tables
from tests.hosts import ApiError, Host, images, wait_until
from tests.hosts.host import NETWORK

# Seconds after the request; a start takes about 0.15, making or deleting a network about 0.1.
MOMENTS = [0.005, 0.02, 0.04, 0.06, 0.09, 0.13, 0.2]


@pytest.fixture
def host(hosts: Callable[..., Host]) -> Host:
    made = hosts(lxcfs=False)
    made.prepare()
    made.import_image(images.built("busybox"), "busybox")
    return made


def killed_after(host: Host, delay: float, method: str, path: str, body: Any = None) -> None:
    """Send a request, kill the daemon `delay` seconds later, and start another one."""

    def send() -> None:
        with contextlib.suppress(Exception):
            host.call(method, path, body)

    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(delay)
    host.kill9()
    sender.join()
    host.start()


def settled(host: Host, name: str, bare: set[str]) -> bool:
    """Whether the guest runs, once the new daemon has brought it to where it was going; its links must agree."""

    def state() -> str:
        with contextlib.suppress(ApiError):
            document = host.get(f"/1.0/instances/{name}")
            wanted = document["config"].get("volatile.last_state.power") == "RUNNING"
            running = document["status"] == "Running" and bool(host.state(name)["network"]["eth0"]["addresses"])
            if running == wanted and len(links(host) - bare) == running:
                return "running" if running else "stopped"
        return ""

    return wait_until(state, what=f"{name} runs with one link, or is stopped with none") == "running"


def test_a_start_leaves_a_running_guest_or_no_link(host: Host) -> None:
    host.create("first", "busybox", start=False)
    bare = links(host)
    for delay in MOMENTS:
        killed_after(host, delay, "PUT", "/1.0/instances/first/state", {"action": "start", "timeout": 30})
        if settled(host, "first", bare):
            host.power("first", "stop", force=True)
        assert links(host) == bare, f"after {delay} s"


def test_a_stop_leaves_a_running_guest_or_no_link(host: Host) -> None:
    host.create("first", "busybox", start=False)
    bare = links(host)
    for delay in MOMENTS[:5]:
        host.power("first", "start")
        body = {"action": "stop", "force": True, "timeout": 30}
        killed_after(host, delay, "PUT", "/1.0/instances/first/state", body)
        if settled(host, "first", bare):
            host.power("first", "stop", force=True)
        assert links(host) == bare, f"after {delay} s"


def test_a_network_is_whole_or_can_be_deleted(host: Host) -> None:
    bare = links(host), tables(host)
    for delay in MOMENTS:
        killed_after(host, delay, "POST", "/1.0/networks", {"name": "late0"})
        if host.api.exists("/1.0/networks/late0"):
            assert host.get("/1.0/networks/late0")["status"] == "Created", f"after {delay} s"
            assert "late0" in links(host)
            killed_after(host, delay, "DELETE", "/1.0/networks/late0")
        if host.api.exists("/1.0/networks/late0"):
            host.call("DELETE", "/1.0/networks/late0")
        assert (links(host), tables(host)) == bare, f"after {delay} s"
        assert not (host.directory / "networks" / "late0").exists()
    assert NETWORK in links(host)
