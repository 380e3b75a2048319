"""Runs in the machine: the main job and what else depends on the kernel, each step named, one line each."""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.hosts import Host, images, wait_until

NAME = "first"
LIMIT = 512 << 20


def _state(host: Host, action: str, **more: object) -> None:
    host.call("PUT", f"/1.0/instances/{NAME}/state", {"action": action, "timeout": 300, **more}, timeout=600)


def kernel(host: Host) -> None:
    """This machine has control groups of version 2 alone, and AppArmor."""
    assert host.run("stat", "-fc", "%T", "/sys/fs/cgroup").stdout.strip() == "cgroup2fs"
    assert Path("/sys/module/apparmor/parameters/enabled").read_text().strip() == "Y"


def boots(host: Host) -> None:
    """Debian boots with no failed unit, on overlay, with a limit that it sees itself."""
    config = {"migration.stateful": "true", "limits.memory": "512MiB", "limits.cpu": "1", "limits.processes": "400"}
    host.create(NAME, "debian", config=config)
    wait_until(lambda: host.exec(NAME, "systemctl", "is-system-running", "--wait", check=False).stdout, 30)
    assert host.exec(NAME, "systemctl", "is-system-running").stdout == "running\n"
    assert host.exec(NAME, "systemctl", "--failed", "--no-legend").stdout == ""
    total = int(host.exec(NAME, "grep", "MemTotal", "/proc/meminfo").stdout.split()[1])
    assert total * 1024 == LIMIT, total


def confined(host: Host) -> None:
    """Its processes are under a profile of their own, seen from the host."""
    label = Path(f"/proc/{host.state(NAME)['pid']}/attr/current").read_text()
    assert "unconfined" not in label.partition("//&")[0], label


def addressed(host: Host) -> None:
    """It has addresses of both families."""
    assert host.address_of(NAME)
    assert host.address_of(NAME, "inet6")


def limited(host: Host) -> None:
    """Limits change while it runs."""
    host.call("PATCH", f"/1.0/instances/{NAME}", {"config": {"limits.memory": "256MiB"}})
    total = int(host.exec(NAME, "grep", "MemTotal", "/proc/meminfo").stdout.split()[1])
    assert total * 1024 == LIMIT // 2, total


def frozen(host: Host) -> None:
    """It is frozen and goes on."""
    _state(host, "freeze")
    assert host.get(f"/1.0/instances/{NAME}")["status"] == "Frozen"
    _state(host, "unfreeze")
    assert host.exec(NAME, "true").returncode == 0


def kept(host: Host) -> None:
    """It goes on from its memory, new units start, its limit is in force."""
    before = host.exec(NAME, "systemctl", "show", "-p", "MainPID", "--value", "systemd-journald").stdout
    _state(host, "stop", stateful=True)
    assert host.get(f"/1.0/instances/{NAME}")["stateful"]
    _state(host, "start", stateful=True)
    assert (
        host.exec(NAME, "systemctl", "show", "-p", "MainPID", "--value", "systemd-journald").stdout == before != "0\n"
    )
    assert host.exec(NAME, "systemd-run", "--wait", "--pipe", "echo", "new").stdout == "new\n"
    total = int(host.exec(NAME, "grep", "MemTotal", "/proc/meminfo").stdout.split()[1])
    assert total * 1024 == LIMIT // 2, total


def survives(host: Host) -> None:
    """It runs on while the daemon is killed, and is managed by the next one."""
    pid = host.state(NAME)["pid"]
    host.kill9()
    host.start()
    assert host.state(NAME)["pid"] == pid
    assert host.exec(NAME, "true").returncode == 0


def stops(host: Host) -> None:
    """A snapshot, a clean stop, a restore, a new start."""
    host.call("POST", f"/1.0/instances/{NAME}/snapshots", {"name": "s"})
    _state(host, "stop")
    host.call("PUT", f"/1.0/instances/{NAME}", {"restore": "s"})
    _state(host, "start")
    _state(host, "stop", force=True)
    host.delete(NAME)


STEPS: tuple[Callable[[Host], None], ...] = (
    kernel,
    boots,
    confined,
    addressed,
    limited,
    frozen,
    kept,
    survives,
    stops,
)


def main() -> int:
    passed = failed = 0
    with Host() as host:
        host.prepare()
        host.import_image(images.built("debian/12"), "debian")
        for step in STEPS:
            try:
                step(host)
            except Exception:
                failed += 1
                traceback.print_exc()
                print(host.log_tail())
                for log in host.directory.glob("instances/*/*/state/*.log"):
                    print(log, *log.read_text(errors="replace").splitlines()[-25:], sep="\n")
            else:
                passed += 1
            print(f"{step.__doc__} [{'failed' if failed else 'passed'}]", flush=True)
            if failed:
                break
    print(f"vm: {passed} passed, {failed + len(STEPS) - passed - failed} failed", flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
