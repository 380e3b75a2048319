"""Limits: changed while the guest runs, enforced by the kernel, and seen by the guest itself."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts import ApiError, Host

Guest = Callable[..., str]


def setting(host: Host, name: str, controller: str, *files: str) -> str:
    """What the guest's control group says, in the file that this host's version has."""
    pid = host.state(name)["pid"]
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, names, path = line.split(":", 2)
        if controller in names.split(",") or number == "0":
            root = Path("/sys/fs/cgroup", controller if number != "0" else "")
            for top in (root, root / "unified"):
                for file in files:
                    folder = top / path.strip("/")
                    for place in (folder, folder.parent):
                        if (place / file).exists():
                            return (place / file).read_text().strip()
    raise AssertionError(f"the guest has none of {files}")


def change(host: Host, name: str, **config: str) -> None:
    host.call(
        "PATCH", f"/1.0/instances/{name}", {"config": {f"limits.{k.replace('_', '.')}": v for k, v in config.items()}}
    )


def processors(host: Host, name: str) -> int:
    return int(host.exec(name, "grep", "-c", "^processor", "/proc/cpuinfo").stdout)


def test_memory_is_what_the_guest_sees_and_all_it_gets(host: Host, guest: Guest) -> None:
    name = guest(config={"limits.memory": "96MiB"})
    assert "MemTotal:          98304 kB" in host.exec(name, "cat", "/proc/meminfo").stdout

    change(host, name, memory="64MiB", memory_swap="false")

    assert "MemTotal:          65536 kB" in host.exec(name, "cat", "/proc/meminfo").stdout
    too_much = host.exec(name, "dd", "if=/dev/zero", "of=/dev/null", "bs=96M", "count=1", check=False)
    assert too_much.returncode != 0
    assert host.exec(name, "dd", "if=/dev/zero", "of=/dev/null", "bs=16M", "count=1").returncode == 0


def test_a_soft_limit_of_memory_does_not_stop_the_guest(host: Host, guest: Guest) -> None:
    name = guest(config={"limits.memory": "64MiB", "limits.memory.enforce": "soft"})
    assert setting(host, name, "memory", "memory.soft_limit_in_bytes", "memory.high") == str(64 << 20)
    host.exec(name, "dd", "if=/dev/zero", "of=/dev/null", "bs=96M", "count=1")


def test_a_percentage_of_memory_is_of_the_hosts(host: Host, guest: Guest) -> None:
    name = guest(config={"limits.memory": "10%"})
    total = int(Path("/proc/meminfo").read_text().split()[1])
    seen = int(host.exec(name, "cat", "/proc/meminfo").stdout.split()[1])
    assert abs(seen - total // 10) < 1024


def test_guests_with_a_number_of_cpus_share_them_evenly(host: Host, guest: Guest) -> None:
    one, two = guest(config={"limits.cpu": "1"}), guest(config={"limits.cpu": "1"})
    sets = {setting(host, each, "cpuset", "cpuset.cpus") for each in (one, two)}
    assert len(sets) == 2
    assert processors(host, one) == 1

    change(host, two, cpu="2")
    assert processors(host, two) == 2
    change(host, two, cpu="")
    assert processors(host, two) == 2
    change(host, two, cpu="0-0")
    assert setting(host, two, "cpuset", "cpuset.cpus") == "0"
    assert setting(host, one, "cpuset", "cpuset.cpus") == "1"

    host.restart()
    change(host, two, cpu="1-1")
    assert setting(host, one, "cpuset", "cpuset.cpus") == "0"


def test_a_cpu_that_the_host_lacks_is_refused(host: Host, guest: Guest) -> None:
    name = guest()
    with pytest.raises(ApiError, match="this host has no CPU 98"):
        change(host, name, cpu="98-99")
    assert processors(host, name) > 0


def test_cpu_time_is_shared_or_capped(host: Host, guest: Guest) -> None:
    name = guest(config={"limits.cpu.allowance": "50%"})
    assert setting(host, name, "cpu", "cpu.shares", "cpu.weight") in ("512", "50")
    change(host, name, cpu_allowance="25ms/100ms", cpu_priority="5")
    assert setting(host, name, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "25000"
    change(host, name, cpu_allowance="")
    assert setting(host, name, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] in ("-1", "max")


def test_a_fork_bomb_ends_at_its_limit(host: Host, guest: Guest) -> None:
    name = guest(config={"limits.processes": "60"})
    bounded = "for i in $(seq 1 100); do sleep 5 & done; wait; true"
    refused = host.exec(name, "sh", "-c", bounded, check=False)
    assert "fork" in refused.stderr + refused.stdout
    change(host, name, processes="300")
    assert host.exec(name, "sh", "-c", bounded.replace("sleep 5", "true")).returncode == 0


def test_disk_priority_huge_pages_and_swap_priority_are_set(host: Host, guest: Guest) -> None:
    name = guest(
        config={"limits.disk.priority": "2", "limits.hugepages.2MB": "4MiB", "limits.memory.swap.priority": "5"}
    )
    assert setting(host, name, "hugetlb", "hugetlb.2MB.max", "hugetlb.2MB.limit_in_bytes") == str(4 << 20)
    weight = ("blkio.weight", "blkio.bfq.weight", "io.weight", "io.bfq.weight")
    assert setting(host, name, "blkio", *weight).removeprefix("default ") == "200"
    change(host, name, disk_priority="10", hugepages_2MB="")
    assert setting(host, name, "blkio", *weight).removeprefix("default ") == "1000"
    assert setting(host, name, "hugetlb", "hugetlb.2MB.max", "hugetlb.2MB.limit_in_bytes") != str(4 << 20)


def test_kernel_limits_and_sysctls_are_the_guests(host: Host, guest: Guest) -> None:
    config = {"limits.kernel.nofile": "1000:2000", "linux.sysctl.net.ipv4.ip_forward": "1"}
    name = guest(config=config)
    assert host.exec(name, "sh", "-c", "ulimit -Sn; ulimit -Hn").stdout.split() == ["1000", "2000"]
    assert host.exec(name, "cat", "/proc/sys/net/ipv4/ip_forward").stdout == "1\n"


def test_modules_of_the_kernel_are_there_before_the_start(host: Host, guest: Callable[..., str]) -> None:
    there = next(path.name for path in Path("/sys/module").iterdir())
    name = guest(config={"linux.kernel_modules": there})
    assert host.state(name)["status"] == "Running"

    missing = guest(start=False, config={"linux.kernel_modules": f"{there}, no_such_module"})
    with pytest.raises(ApiError, match="Failed to load kernel module 'no_such_module'"):
        host.power(missing, "start")
    with pytest.raises(ApiError, match="invalid name of a kernel module"):
        host.call("PATCH", f"/1.0/instances/{missing}", {"config": {"linux.kernel_modules": "-r,x"}})
