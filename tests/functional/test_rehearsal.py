"""`hutch move --check`: what stands in the way of a move is said before anything happens, and tried when asked."""

import re
from collections.abc import Callable
from typing import Any

from tests.hosts import Host, wait_until

Guest = Callable[..., str]


def asked(host: Host, name: str, **wanted: Any) -> dict[str, Any]:
    found: dict[str, Any] = host.call("POST", f"/1.0/instances/{name}/checkpoint-check", wanted)["metadata"]
    return found


def test_a_guest_that_can_be_moved_is_tried_and_goes_on(host: Host, guest: Guest) -> None:
    name = guest(config={"migration.stateful": "true"})
    before = host.state(name)["pid"]

    done = host.hutch("move", name, "--check", "--trial")

    assert f"{name} can be moved while it runs.\n" in done.stdout
    paused = re.search(r"It stood still for (\d+\.\d+) s; its state has [\d.]+.B\.", done.stdout)
    assert paused is not None
    assert 0.01 < float(paused[1]) < 20
    assert host.state(name)["pid"] == before
    assert host.exec(name, "echo", "on").stdout == "on\n"
    assert not (host.directory / "instances/default" / name / "trial").exists()


def test_processes_in_the_way_are_named(host: Host, guest: Guest) -> None:
    name = guest(config={"migration.stateful": "true"})
    sleeping = {"command": ["sleep", "300"], "record-output": True, "wait-for-websocket": False}
    host.api.begin("POST", f"/1.0/instances/{name}/exec", sleeping)
    host.exec(name, "sh", "-c", "unshare -p -f sleep 400 >/dev/null 2>&1 </dev/null &")
    wait_until(lambda: "sleep 400" in host.exec(name, "ps").stdout and "sleep 300" in host.exec(name, "ps").stdout)

    done = host.hutch("move", name, "--check", check=False)

    assert done.returncode == 1
    assert f"{name} cannot be moved while it runs:\n" in done.stdout
    assert re.search(r"  - sleep \(process \d+ of the host\) was started from outside \(an exec session\)", done.stdout)
    assert re.search(r"  - sleep \(process \d+ of the host\) has a pid namespace of its own", done.stdout)


def test_the_target_is_compared(host: Host, guest: Guest) -> None:
    name = guest(config={"migration.stateful": "true"})
    here = host.get("/1.0/checkpoint")
    assert asked(host, name, target=here)["possible"]
    other = {"kernel": "5.10.0", "criu": "3.17.1", "cpu": here["cpu"][1:], "lxcfs": False}

    found = asked(host, name, target=other, trial=True)

    assert not found["possible"]
    assert "trial" not in found
    reasons = " ".join(each["reason"] for each in found["obstacles"])
    for words in ("kernel is 5.10.0", "CRIU is 3.17.1", "4.2 is needed", f"CPUs lack {here['cpu'][0]},"):
        assert words in reasons
    assert ("lxcfs is not mounted" in reasons) == here["lxcfs"]


def test_what_its_settings_forbid_is_said(host: Host, guest: Guest) -> None:
    name = guest()
    assert "requires migration.stateful" in asked(host, name)["obstacles"][0]["reason"]
    host.power(name, "stop", force=True)
    assert "not running" in str(asked(host, name)["obstacles"])
    refused = host.hutch("move", name, "--trial", check=False)
    assert "--trial goes with --check" in refused.stderr
