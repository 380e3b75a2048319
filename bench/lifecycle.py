"""One round of an instance's life on one daemon and pool: what it takes, step by step."""

import time
from typing import Any

from bench.daemons import Daemon
from bench.samples import Samples
from hutch.client.connection import url

_BOOTED = "systemctl is-system-running --wait 2>/dev/null | grep -qE 'running|degraded'"
_PATIENCE = 60.0
_PAUSE = 0.02
"""Between two looks while systemd does not listen yet; once it does, the look ends with the boot."""


def busybox(daemon: Daemon, pool: str, samples: Samples, subject: str, execs: int) -> None:
    """Everything by API: a small guest shows what the daemon adds to the work."""
    name, copy = daemon.fresh(), daemon.fresh()
    here, state, snapshots = (
        url("instances", name),
        url("instances", name, "state"),
        url("instances", name, "snapshots"),
    )
    with samples.time("create", subject):
        create(daemon, name, pool, {"type": "image", "alias": "busybox"})
    with samples.time("start", subject):
        daemon.do("PUT", state, {"action": "start", "timeout": -1})
    for _ in range(execs):
        with samples.time("exec", subject):
            execute(daemon, name, ["true"])
    with samples.time("snapshot", subject):
        daemon.do("POST", snapshots, {"name": "one", "stateful": False})
    with samples.time("restart", subject):
        daemon.do("PUT", state, {"action": "restart", "force": True, "timeout": -1})
    with samples.time("stop", subject):
        daemon.do("PUT", state, {"action": "stop", "force": True, "timeout": -1})
    with samples.time("restore", subject):
        daemon.do("PUT", here, {"restore": "one"})
    with samples.time("copy", subject):
        create(daemon, copy, pool, {"type": "copy", "source": name, "instance_only": True})
    daemon.do("DELETE", url("instances", copy))
    with samples.time("delete", subject):
        daemon.do("DELETE", here)


def debian(daemon: Daemon, pool: str, samples: Samples, subject: str) -> None:
    """A whole system, started by the command line client, until systemd has reached its default target."""
    name = daemon.fresh()
    start = time.perf_counter()
    daemon.cli("launch", "debian/12", name, "--storage", pool)
    launched = time.perf_counter()
    wait_for_systemd(daemon, name)
    samples.add("launch Debian, running", subject, (time.perf_counter() - start) * 1000)
    samples.add("launch Debian, command", subject, (launched - start) * 1000)
    with samples.time("stop Debian", subject):
        daemon.do("PUT", url("instances", name, "state"), {"action": "stop", "force": True, "timeout": -1})
    with samples.time("delete Debian", subject):
        daemon.do("DELETE", url("instances", name))


def create(daemon: Daemon, name: str, pool: str, source: dict[str, Any]) -> None:
    devices = {"root": {"type": "disk", "path": "/", "pool": pool}}
    daemon.do("POST", url("instances"), {"name": name, "type": "container", "source": source, "devices": devices})


def execute(daemon: Daemon, name: str, command: list[str]) -> int:
    wanted = {"command": command, "wait-for-websocket": False, "interactive": False, "record-output": False}
    operation = daemon.do("POST", url("instances", name, "exec"), wanted)
    return int(operation["metadata"]["return"])


def wait_for_systemd(daemon: Daemon, name: str) -> None:
    end = time.monotonic() + _PATIENCE
    while execute(daemon, name, ["sh", "-c", _BOOTED]) != 0:
        time.sleep(_PAUSE)
        if time.monotonic() > end:
            raise TimeoutError(f"systemd of {name} is not running after {_PATIENCE:.0f} s")
