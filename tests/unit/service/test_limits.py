"""limits.* as cgroup settings, and which CPUs guests get."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hutch.errors import Invalid
from hutch.schema.keys import instance as keys
from hutch.service.instances import cpus, limits


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ({"memory": "64MiB"}, {"memory.max": str(64 << 20)}),
        ({"memory": "64MiB", "memory.enforce": "soft"}, {"memory.high": str(64 << 20)}),
        ({"memory.swap": "false"}, {"memory.swap.max": "0", "memory.swappiness": "0"}),
        (
            {"memory.swap": "1GiB", "memory.swap.priority": "3"},
            {"memory.swap.max": "1073741824", "memory.swappiness": "53"},
        ),
        ({"cpu.allowance": "25ms/100ms"}, {"cpu.max": "25000 100000"}),
        ({"cpu.allowance": "50%", "cpu.priority": "5"}, {"cpu.weight": "45"}),
        ({"processes": "9"}, {"pids.max": "9"}),
        ({"disk.priority": "10"}, {"io.weight": "default 1000"}),
        ({"hugepages.2MB": "4MiB"}, {"hugetlb.2MB.max": "4194304"}),
    ],
)
def test_limits_become_settings_that_can_be_lifted(config: dict[str, str], settings: dict[str, str]) -> None:
    found = limits.of({f"limits.{key}": value for key, value in config.items()})
    assert found == settings
    assert found.keys() <= limits.LIFTED.keys()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("limits.cpu", "0"),
        ("limits.memory.enforce", "maybe"),
        ("limits.memory.swap", "some"),
        ("limits.processes", "0"),
        ("limits.disk.priority", "11"),
        ("limits.hugepages.3MB", "1"),
        ("limits.kernel.nofiles", "5"),
        ("limits.kernel.nofile", "many"),
        ("limits.kernel.nofile", "10:5"),
        ("linux.sysctl.net ipv4", "1"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(key: str, value: str) -> None:
    with pytest.raises(Invalid, match=key.split(".")[1]):
        keys.check("instance 'x'", {key: value})


def test_sets_stay_and_counts_are_spread_around_them() -> None:
    wishes = {("p", "set"): "0-1", ("p", "one"): "1", ("p", "other"): "1", ("p", "all"): "9"}
    found = cpus.spread(wishes, [0, 1, 2, 3])
    assert found[("p", "set")] == [0, 1]
    assert found[("p", "one")] == [2]
    assert found[("p", "other")] == [3]
    assert found[("p", "all")] == [0, 1, 2, 3]


@given(
    counts=some.lists(some.integers(1, 6), max_size=20),
    available=some.integers(1, 8),
)
def test_no_cpu_carries_two_guests_more_than_another(counts: list[int], available: int) -> None:
    wishes = {("p", f"g{number}"): str(count) for number, count in enumerate(counts)}
    found = cpus.spread(wishes, range(available))
    load = [sum(cpu in placed for placed in found.values()) for cpu in range(available)]
    assert max(load) - min(load) <= 1
    assert all(len(found[key]) == min(int(count), available) for key, count in wishes.items())
