"""The configuration file that lxc-start gets."""

from pathlib import Path

import pytest

from hutch.errors import Invalid
from hutch.kernel import idmap
from hutch.runtime.lxc import config
from hutch.runtime.lxc.config import Host
from hutch.runtime.plan import DeviceRule, LaunchPlan, Link, Mount

SETTINGS = [("memory.limit_in_bytes", "5"), ("io.max", "x")]
HOST = Host("hutch-0/p_n", "hutch-0/monitor/p_n", "hutch-0/pivot", SETTINGS, frozenset({"memory"}), None)


@pytest.fixture
def plan(tmp_path: Path) -> LaunchPlan:
    root = tmp_path / "rootfs"
    (root / "sbin").mkdir(parents=True)
    (root / "lib" / "systemd").mkdir(parents=True)
    (root / "lib" / "systemd" / "systemd").touch()
    (root / "sbin" / "init").symlink_to("../lib/systemd/systemd")
    return LaunchPlan("p", "n", tmp_path / "n", root, hostname="box", idmap=idmap.default())


def lines(plan: LaunchPlan, host: Host = HOST) -> list[str]:
    return config.text(plan, host).splitlines()


def test_an_unprivileged_guest(plan: LaunchPlan) -> None:
    found = lines(plan)
    assert "lxc.idmap = u 0 1000000 1000000000" in found
    assert "lxc.uts.name = box" in found
    assert "lxc.console.path = none" in found
    assert "lxc.tty.max = 0" in found
    assert "lxc.net.0.type = empty" in found
    assert "lxc.cgroup.memory.limit_in_bytes = 5" in found
    assert "lxc.cgroup2.io.max = x" in found
    assert not any("cap.drop" in line or "devices" in line or "include" in line for line in found)
    assert [line for line in found if "hook" in line] == [
        f'lxc.hook.post-stop = </dev/null; echo "$LXC_TARGET" 1<>{plan.directory}/ended; exit 1 #'
    ]


def test_a_privileged_guest_loses_capabilities_and_devices(plan: LaunchPlan) -> None:
    plan.idmap, plan.device_rules = [], [DeviceRule("c 10:1 rwm"), DeviceRule("c 10:2 rwm", allow=False)]
    found = lines(plan)
    assert "lxc.mount.auto = proc:mixed sys:mixed" in found
    assert any(line.startswith("lxc.cap.drop = ") and "sys_module" in line for line in found)
    assert found.index("lxc.cgroup2.devices.deny = a") < found.index("lxc.cgroup2.devices.allow = c 10:1 rwm")
    assert "lxc.cgroup2.devices.deny = c 10:2 rwm" in found


def test_systemd_is_told_to_use_cgroup_2_and_others_nothing(plan: LaunchPlan) -> None:
    assert config.init_words(plan) == ["/sbin/init", "systemd.unified_cgroup_hierarchy=1"]
    init = plan.rootfs / "sbin" / "init"
    init.unlink()
    # On the host this would be systemd; inside of the root it is nothing.
    init.symlink_to("../../../../../../../lib/systemd/systemd-none")
    assert config.init_words(plan) == ["/sbin/init"]
    plan.init = ["/bin/app", "with space"]
    assert "lxc.init.cmd = /bin/app 'with space'" in lines(plan)


def test_an_absolute_link_stays_inside_of_the_root(plan: LaunchPlan) -> None:
    init = plan.rootfs / "sbin" / "init"
    init.unlink()
    init.symlink_to("/lib/systemd/systemd")
    assert config.init_words(plan)[1:] == ["systemd.unified_cgroup_hierarchy=1"]


def test_links_and_mounts(plan: LaunchPlan) -> None:
    plan.links = [Link("eth0", "veth1", "eth0", hwaddr="00:16:3e:00:00:01", mtu=1400), Link("eth1", "veth2", "lan")]
    plan.mounts = [Mount("/srv/my data", "/mnt/a b", options="bind,create=dir")]
    plan.console = Path("/dev/pts/7")
    found = lines(plan)
    assert "lxc.net.0.link = veth1" in found
    assert "lxc.net.0.mtu = 1400" in found
    assert "lxc.net.1.name = lan" in found
    assert "lxc.mount.entry = /srv/my\\040data mnt/a\\040b none bind,create=dir 0 0" in found
    assert "lxc.mount.entry = /dev/pts/7 dev/console none bind,create=file 0 0" in found


def test_lxcfs_is_bound_file_by_file_as_far_as_it_offers_them(plan: LaunchPlan, tmp_path: Path) -> None:
    lxcfs = tmp_path / "lxcfs"
    (lxcfs / "proc").mkdir(parents=True)
    (lxcfs / "proc" / "meminfo").touch()
    host = Host(HOST.group, HOST.monitor_group, HOST.pivot_group, [], frozenset(), lxcfs)
    assert [line for line in lines(plan, host) if "lxcfs/" in line] == [
        f"lxc.mount.entry = {lxcfs}/proc/meminfo proc/meminfo none bind,optional 0 0"
    ]


@pytest.mark.parametrize("field", ["environment", "rlimits", "sysctls"])
def test_no_value_breaks_out_of_its_line(plan: LaunchPlan, field: str) -> None:
    setattr(plan, field, {"A": "b\nlxc.hook.start-host = /bin/evil"})
    with pytest.raises(Invalid, match="line break"):
        lines(plan)


def test_raw_lines_come_last_and_win(plan: LaunchPlan) -> None:
    plan.raw = "lxc.tty.max = 4"
    assert lines(plan)[-1] == "lxc.tty.max = 4"
