"""Control groups: layouts, translation, and a version 2 tree of plain files (this suite's machine may have only version 1)."""

from pathlib import Path

import pytest

from hutch.errors import Unsupported
from hutch.kernel import cgroup

PURE = "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
HYBRID = """31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime shared:9 - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_layouts_are_read_from_the_mounts() -> None:
    pure = cgroup.layout(PURE, "")
    assert pure.pure
    assert pure.roots() == [Path("/sys/fs/cgroup")]
    hybrid = cgroup.layout(HYBRID, "")
    assert not hybrid.pure
    assert hybrid.legacy["cpuacct"] == hybrid.legacy["cpu"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert hybrid.legacy["name=systemd"] == Path("/sys/fs/cgroup/systemd")
    assert len(hybrid.roots()) == 6
    with pytest.raises(Unsupported):
        cgroup.layout("1 2 0:3 / / rw - ext4 /dev/sda rw\n")


def test_groups_are_looked_for_below_that_of_the_first_process() -> None:
    first = "4:memory:/pod/7\n2:cpu,cpuacct:/\n1:name=systemd:/init.scope\n0::/pod/7/init.scope\n"
    found = cgroup.layout(HYBRID, first)
    assert found.legacy["memory"] == Path("/sys/fs/cgroup/memory/pod/7")
    assert found.legacy["cpu"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert found.legacy["name=systemd"] == Path("/sys/fs/cgroup/systemd")
    assert found.unified == Path("/sys/fs/cgroup/unified/pod/7")
    part = cgroup.layout(HYBRID.replace("0:32 / ", "0:32 /pod/7 "), first)
    assert part.legacy["memory"] == Path("/sys/fs/cgroup/memory"), "only a part of the tree is mounted there"


def test_settings_are_version_1_words_where_the_controller_is_there() -> None:
    group = cgroup.Group(cgroup.layout(HYBRID, ""), "hutch-0/a_b")
    wanted = {
        "memory.swap.max": "1000",
        "memory.max": "3000",
        "cpu.max": "max 100000",
        "cpu.weight": "50",
        "pids.max": "7",
        "io.max": "8:0 rbps=5 wiops=max",
        "io.weight": "default 5",
    }
    found = group.settings(wanted)
    assert dict(found) == {
        "memory.limit_in_bytes": "3000",
        "memory.memsw.limit_in_bytes": "4000",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "-1",
        "cpu.shares": "512",
        "pids.max": "7",
        "blkio.throttle.read_bps_device": "8:0 5",
        "blkio.throttle.write_iops_device": "8:0 0",
        "blkio.weight": "10",
    }
    assert found[-1][0] == "memory.memsw.limit_in_bytes", "memory first: the sum may not be below it"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What version 2 shows, as plain files."""
    for folder in (tmp_path, tmp_path / "hutch-0", tmp_path / "hutch-0" / "a_b"):
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.controllers").write_text("cpu io memory pids\n")
        (folder / "cgroup.subtree_control").write_text("")
    return tmp_path


@pytest.fixture
def group(tree: Path) -> cgroup.Group:
    return cgroup.Group(cgroup.Layout(tree, {}), "hutch-0/a_b")


def test_controllers_are_handed_down_to_the_parent_not_to_the_guest(group: cgroup.Group, tree: Path) -> None:
    group.prepare_parent()
    for folder in (tree, tree / "hutch-0"):
        assert (folder / "cgroup.subtree_control").read_text().startswith("+")
    assert (tree / "hutch-0" / "a_b" / "cgroup.subtree_control").read_text() == ""


def test_limits_are_written_as_they_are(group: cgroup.Group, tree: Path) -> None:
    for name in ("memory.max", "cpu.max"):
        (tree / "hutch-0" / "a_b" / name).write_text("max")
        (tree / "hutch-0" / name).write_text("max")
    group.check(group.settings({"memory.max": "1"}))
    group.write({"memory.max": "4096", "cpu.max": "1000 2000"})
    assert (tree / "hutch-0" / "a_b" / "memory.max").read_text() == "4096"
    assert (tree / "hutch-0" / "a_b" / "cpu.max").read_text() == "1000 2000"
    with pytest.raises(Unsupported, match="hugetlb"):
        group.settings({"hugetlb.2MB.max": "1"})
    with pytest.raises(Unsupported, match=r"io\.weight"):
        group.check(group.settings({"io.weight": "1"}))


def test_usage_is_read_from_version_2(group: cgroup.Group, tree: Path) -> None:
    own = tree / "hutch-0" / "a_b"
    for name, text in {
        "memory.current": "100\n",
        "memory.swap.current": "7\n",
        "pids.current": "3\n",
        "cpu.stat": "usage_usec 25\nuser_usec 20\n",
    }.items():
        (own / name).write_text(text)
    assert group.usage() == {
        "memory": 100,
        "memory_peak": 100,
        "swap": 7,
        "swap_peak": 0,
        "cpu": 25000,
        "processes": 3,
    }
    (own / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    (own / "cgroup.freeze").write_text("1")
    assert group.frozen()


def test_what_only_version_1_knows_is_left_out(group: cgroup.Group) -> None:
    assert group.settings({"memory.swappiness": "0"}) == []
    hybrid = cgroup.Group(cgroup.layout(HYBRID), "hutch-0/a_b")
    assert hybrid.settings({"memory.swappiness": "0"}) == [("memory.swappiness", "0")]


def test_the_share_of_a_disk_goes_to_the_scheduler_that_is_there(group: cgroup.Group, tree: Path) -> None:
    wanted = {"io.weight": "default 500"}
    assert group.settings(wanted) == [("io.weight", "default 500")]
    (tree / "hutch-0" / "io.bfq.weight").write_text("100")
    assert group.settings(wanted) == [("io.bfq.weight", "default 500")]
    (tree / "hutch-0" / "io.weight").write_text("default 100")
    assert group.settings(wanted) == [("io.weight", "default 500")]


def test_rates_of_disks_are_one_line_a_disk(group: cgroup.Group, tree: Path) -> None:
    for folder in (tree / "hutch-0", tree / "hutch-0" / "a_b"):
        (folder / "io.max").write_text("")
    assert group.settings({"io.max": "8:0 rbps=1\n7:1 wiops=2"}) == [
        ("io.max", "8:0 rbps=1"),
        ("io.max", "7:1 wiops=2"),
    ]
    assert group.only_unified({"io.max": "8:0 rbps=1"}) == {}
