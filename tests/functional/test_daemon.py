"""The daemon may end at any moment: guests run on and are found again; what was half done is finished or gone."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.functional.streams import connected
from tests.hosts import Host, images
from tests.hosts.api import ApiError
from tests.hosts.host import BIN
from tests.hosts.waiting import wait_until

Hosts = Callable[..., Host]


@pytest.fixture
def own(hosts: Hosts) -> Host:
    """A host of the test's own, with a pool, a network and busybox."""
    host = hosts()
    host.prepare()
    host.import_image(images.built("busybox"), "busybox")
    return host


def _kill(host: Host) -> None:
    host.kill9()
    host.start()


@pytest.mark.parametrize("how", ["restart", "kill -9"])
def test_guests_run_on_and_are_managed_again(own: Host, how: str) -> None:
    own.create("c1", "busybox")
    own.exec("c1", "sh", "-c", "echo before > /dev/console; echo mark > /root/mark")
    before = own.state("c1")
    address = own.address_of("c1")
    own.restart() if how == "restart" else _kill(own)
    after = own.state("c1")
    assert (after["pid"], after["status"]) == (before["pid"], "Running")
    assert own.address_of("c1") == address
    assert own.exec("c1", "cat", "/root/mark").stdout == "mark\n"
    own.exec("c1", "sh", "-c", "echo after > /dev/console")
    console = wait_until(lambda: _console(own, "c1", "after"), what="the console log goes on")
    assert console.index("before") < console.index("after")
    own.power("c1", "freeze")
    _kill(own)
    assert own.get("/1.0/instances/c1")["status"] == "Frozen"
    own.power("c1", "unfreeze")
    own.power("c1", "restart", force=True)
    own.power("c1", "stop", timeout=20)
    own.power("c1", "start")
    assert own.state("c1")["status"] == "Running"


def _console(host: Host, name: str, wanted: str) -> str:
    text: str = host.api.raw("GET", f"/1.0/instances/{name}/console")[2].decode()
    return text if wanted in text else ""


def test_what_guests_do_while_no_daemon_runs_is_learned_at_its_start(own: Host) -> None:
    for name in ("off", "again", "gone"):
        own.create(name, "busybox", ephemeral=name == "gone")
    pids = {name: own.state(name)["pid"] for name in ("off", "again", "gone")}
    for name, command in (("off", "poweroff"), ("again", "reboot"), ("gone", "poweroff")):
        own.exec(name, "sh", "-c", f"(sleep 1; {command}) >/dev/null 2>&1 </dev/null &")
    own.kill9()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids.values()), 15, what="the guests ended")
    own.start()
    wait_until(lambda: own.get("/1.0/instances/again")["status"] == "Running", what="the rebooting guest is back")
    assert own.get("/1.0/instances/off")["status"] == "Stopped"
    wait_until(
        lambda: own.get("/1.0/instances/off")["config"]["volatile.last_state.power"] == "STOPPED",
        what="it is remembered as stopped",
    )
    wait_until(lambda: not own.api.exists("/1.0/instances/gone"), what="the ephemeral instance is gone")
    links = own.run("ip", "-o", "link", "show", "type", "veth").stdout
    assert links.count("veth") == 1


def test_admin_shutdown_stops_cleanly_and_the_next_start_brings_back(own: Host) -> None:
    own.create("was-on", "busybox")
    own.create("was-off", "busybox", start=False)
    own.hutch("admin", "shutdown")
    wait_until(lambda: own.daemon is not None and own.daemon.poll() == 0, 40, what="the daemon has ended")
    own.daemon = None
    assert own.namespace.run("ip", "-o", "link", "show", "type", "veth").stdout == ""
    own.start()
    wait_until(lambda: own.get("/1.0/instances/was-on")["status"] == "Running", what="the guest is back")
    assert own.get("/1.0/instances/was-off")["status"] == "Stopped"


async def test_guests_are_stopped_by_their_priority_and_events_tell_of_it(own: Host) -> None:
    for name, priority in (("late", ""), ("early", "10"), ("middle", "5")):
        await asyncio.to_thread(own.create, name, "busybox", config={"boot.stop.priority": priority})

    async with connected(own) as session:
        events = await session.ws_connect("http://hutch/1.0/events?type=lifecycle")
        await asyncio.to_thread(own.hutch, "admin", "shutdown")
        seen = []
        while (message := await events.receive(timeout=40)).type is aiohttp.WSMsgType.TEXT:
            seen.append(json.loads(message.data)["metadata"])
    wait_until(lambda: own.daemon is not None and own.daemon.poll() == 0, 40, what="the daemon has ended")
    own.daemon = None

    ended = [each["source"] for each in seen if each["action"] == "instance-shutdown"]
    assert ended == [f"/1.0/instances/{name}" for name in ("early", "middle", "late")]


def test_what_a_guest_asks_for_when_the_host_goes_down(hosts: Hosts) -> None:
    host = hosts(arguments=("--boot-id", "first"))
    host.prepare()
    host.import_image(images.built("busybox"), "busybox")
    for name, action in (("keeps", "stateful-stop"), ("cannot", "stateful-stop"), ("plain", "stop")):
        allowed = str(name != "cannot").lower()
        config = {"boot.host_shutdown_action": action, "migration.stateful": allowed}
        host.create(name, "busybox", config=config)
        host.exec(name, "sh", "-c", "(while :; do sleep 1; done) >/dev/null 2>&1 </dev/null &")

    host.hutch("admin", "shutdown")
    wait_until(lambda: host.daemon is not None and host.daemon.poll() == 0, 60, what="the daemon has ended")
    host.daemon = None
    host.arguments = ("--boot-id", "second")
    host.start()

    def back(name: str) -> bool:
        return bool(host.get(f"/1.0/instances/{name}")["status"] == "Running")

    wait_until(lambda: all(back(name) for name in ("keeps", "cannot", "plain")), 60, what="every guest is back")
    processes = {name: host.state(name)["processes"] for name in ("keeps", "cannot", "plain")}
    assert processes["keeps"] > processes["cannot"] == processes["plain"]
    assert not host.get("/1.0/instances/keeps")["stateful"]


def test_autostart_after_a_boot_of_the_host_in_order_and_with_delays(hosts: Hosts) -> None:
    host = hosts(arguments=("--boot-id", "first"))
    host.prepare()
    host.import_image(images.built("busybox"), "busybox")
    wanted: dict[str, dict[str, str]] = {
        "third": {"boot.autostart": "true"},
        "first": {"boot.autostart": "true", "boot.autostart.priority": "10", "boot.autostart.delay": "1"},
        "second": {"boot.autostart": "true", "boot.autostart.priority": "5"},
        "never": {"boot.autostart": "false"},
        "restored": {},
    }
    for name, config in wanted.items():
        host.create(name, "busybox", start=name in ("never", "restored"), config=config)
    host.restart()
    assert host.get("/1.0/instances/first")["status"] == "Stopped"
    host.hutch("admin", "shutdown")
    wait_until(lambda: host.daemon is not None and host.daemon.poll() == 0, 40, what="the daemon has ended")
    host.daemon = None
    host.arguments = ("--boot-id", "second")
    host.start()
    running = ("first", "second", "third", "restored")
    wait_until(
        lambda: all(host.get(f"/1.0/instances/{name}")["status"] == "Running" for name in running),
        what="every instance that wants to is started",
    )
    assert host.get("/1.0/instances/never")["status"] == "Stopped"
    used = {name: host.get(f"/1.0/instances/{name}")["last_used_at"] for name in wanted}
    assert used["first"] < used["second"] < used["third"]
    assert _seconds(used["second"]) - _seconds(used["first"]) >= 1


def _seconds(moment: str) -> float:
    clock = moment.partition("T")[2].rstrip("Z").split(":")
    return int(clock[0]) * 3600 + int(clock[1]) * 60 + float(clock[2])


def test_a_create_that_was_killed_is_whole_or_gone_and_can_be_repeated(own: Host) -> None:
    for delay in (0.0, 0.005, 0.01, 0.02, 0.04, 0.08):
        own.api.begin("POST", "/1.0/instances", {"name": "victim", "source": {"type": "image", "alias": "busybox"}})
        time.sleep(delay)
        _kill(own)
        if own.api.exists("/1.0/instances/victim"):
            own.power("victim", "start")
            own.delete("victim")
        own.create("victim", "busybox")
        own.delete("victim")
    assert _volumes(own) == []


def test_a_delete_that_was_killed_is_finished_or_not_begun(own: Host) -> None:
    for delay in (0.0, 0.003, 0.006, 0.012, 0.025):
        own.create("victim", "busybox", start=False)
        own.call("POST", "/1.0/instances/victim/snapshots", {"name": "s1"})
        own.api.begin("DELETE", "/1.0/instances/victim")
        time.sleep(delay)
        _kill(own)
        if own.api.exists("/1.0/instances/victim"):
            assert own.get("/1.0/instances/victim/snapshots") == ["/1.0/instances/victim/snapshots/s1"]
            own.power("victim", "start")
            own.delete("victim")
    assert _volumes(own) == []


def test_a_rename_that_was_killed_has_one_name(own: Host) -> None:
    own.create("one", "busybox", start=False)
    for delay in (0.0, 0.003, 0.006, 0.012, 0.025, 0.05):
        old, new = ("one", "two") if own.api.exists("/1.0/instances/one") else ("two", "one")
        own.api.begin("POST", f"/1.0/instances/{old}", {"name": new})
        time.sleep(delay)
        _kill(own)
        alive = [name for name in ("one", "two") if own.api.exists(f"/1.0/instances/{name}")]
        assert len(alive) == 1
        own.power(alive[0], "start")
        own.power(alive[0], "stop", force=True)


def test_a_start_that_was_killed_can_be_repeated(own: Host) -> None:
    own.create("victim", "busybox", start=False)
    for delay in (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05):
        own.api.begin("PUT", "/1.0/instances/victim/state", {"action": "start"})
        time.sleep(delay)
        _kill(own)
        wait_until(lambda: _settled(own), what="the start is finished or not begun")
        if own.get("/1.0/instances/victim")["status"] == "Running":
            own.power("victim", "stop", force=True)
        assert own.run("ip", "-o", "link", "show", "type", "veth").stdout == ""


def _settled(host: Host) -> bool:
    document: dict[str, Any] = host.get("/1.0/instances/victim")
    return (document["status"] == "Running") == (document["config"]["volatile.last_state.power"] == "RUNNING")


def _volumes(host: Host) -> list[str]:
    found: list[str] = host.get("/1.0/storage-pools/default/volumes/container")
    on_disk = host.run(
        "sh", "-c", f"ls {host.directory}/storage-pools/default/volumes/container 2>/dev/null", check=False
    )
    return found + on_disk.stdout.split()


def test_only_one_daemon_runs_in_a_directory(own: Host) -> None:
    second = own.run(BIN / "hutchd", "--dir", own.directory, check=False)
    assert second.returncode == 1
    assert "another daemon runs" in second.stderr


def test_the_socket_is_for_root_and_the_group(own: Host) -> None:
    status = (own.directory / "unix.socket").stat()
    assert (status.st_mode & 0o777, status.st_uid) == (0o660, 0)


def test_a_network_that_cannot_come_up_keeps_nothing_else_down(own: Host) -> None:
    own.create("running", "busybox")
    own.create("stopped", "busybox", start=False)
    own.stop()
    own.run("ip", "link", "delete", "hutchbr0")
    own.run("ip", "link", "add", "hutchbr0", "type", "veth", "peer", "name", "other")
    own.start()
    assert own.get("/1.0/networks/hutchbr0")["status"] == "Unavailable"
    assert own.get("/1.0/instances/running")["status"] == "Running"
    own.power("running", "stop", force=True)
    with pytest.raises(ApiError, match="hutchbr0"):
        own.power("running", "start")
    own.call("DELETE", "/1.0/instances/stopped")
    own.call("DELETE", "/1.0/instances/running")
