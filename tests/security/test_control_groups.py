"""Control groups: root of a guest can neither lift its own limits nor have the host run a program for it."""

from collections.abc import Callable

import pytest

from tests.functional.test_limits import setting
from tests.hosts import Host

Guest = Callable[..., str]


def test_a_guest_does_not_lift_its_own_limits(host: Host, guest: Guest) -> None:
    name = guest(config={"limits.processes": "90", "limits.memory": "128MiB"})
    attempt = """
        mkdir -p /tmp/g
        for kind in pids memory; do
            mount -t cgroup -o $kind none /tmp/g || continue
            echo max > /tmp/g/pids.max
            echo -1 > /tmp/g/memory.memsw.limit_in_bytes
            echo -1 > /tmp/g/memory.limit_in_bytes
            umount /tmp/g
        done
        mount -t cgroup2 none /tmp/g && { echo max > /tmp/g/pids.max; echo max > /tmp/g/memory.max; }
        true
    """
    host.exec(name, "sh", "-c", attempt)
    assert setting(host, name, "pids", "pids.max") == "90"
    assert setting(host, name, "memory", "memory.limit_in_bytes", "memory.max") == str(128 << 20)


@pytest.mark.parametrize("controller", ["memory", "pids", "name=systemd"])
def test_no_release_agent_is_set_from_inside(host: Host, guest: Guest, controller: str) -> None:
    name = guest()
    attempt = (
        f"mkdir -p /tmp/g; mount -t cgroup -o {controller} none /tmp/g && echo /hutch-marker > /tmp/g/release_agent"
    )
    assert host.exec(name, "sh", "-c", attempt, check=False).returncode != 0
    assert (
        "hutch-marker" not in host.run("sh", "-c", "cat /sys/fs/cgroup/*/release_agent 2>/dev/null", check=False).stdout
    )
