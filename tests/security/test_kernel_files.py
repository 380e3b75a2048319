"""Files of /proc and /sys that concern the whole host: root of an unprivileged guest may not write them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts import Host

Guest = Callable[..., str]


@pytest.mark.parametrize(
    "path",
    [
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hotplug",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/fs/binfmt_misc/register",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/proc/1/oom_score_adj",
    ],
)
def test_a_file_of_the_whole_host_is_not_written(host: Host, guest: Guest, path: str) -> None:
    if not Path(path).exists():
        pytest.skip("this kernel has no such file")
    name = guest()
    before = "" if "trigger" in path or "register" in path else Path(path).read_text()
    marker = "-999" if "oom" in path else "|/hutch-marker"

    host.exec(name, "sh", "-c", f"echo '{marker}' > {path}", check=False)

    if before:
        assert Path(path).read_text() == before
    refused = host.exec(name, "sh", "-c", f"echo '{marker}' > {path}", check=False)
    assert refused.returncode != 0


def test_kernel_memory_and_addresses_stay_hidden(host: Host, guest: Guest) -> None:
    name = guest()
    for path in ("/proc/kcore", "/dev/mem", "/dev/kmsg", "/proc/kmsg"):
        assert host.exec(name, "head", "-c", "1", path, check=False).stdout == ""
    shown = host.exec(name, "sh", "-c", "head -n 3 /proc/kallsyms", check=False).stdout
    assert all(line.startswith("0000000000000000 ") for line in shown.splitlines())
