"""A LaunchPlan as liblxc's configuration file (lxc.container.conf(5)), complete: nothing is included from the host.

The guest gets a shape that CRIU can dump: no ttys and no console of liblxc's, the console's pty bound over /dev/console, lxcfs
by plain binds, no hook but the one that records how the guest ended.
"""

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hutch.errors import Invalid
from hutch.kernel.openat2 import resolve_in_root
from hutch.runtime.plan import LaunchPlan, Mount

CONFIG, LOG, MONITOR_PID, ENDED = "config", "lxc.log", "monitor.pid", "ended"

_DROPPED = "mac_admin mac_override sys_time sys_module sys_rawio"
_DEVICES = (
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
    "c 10:229 rwm",
)
_LXCFS = (
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/loadavg",
    "proc/meminfo",
    "proc/slabinfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "sys/devices/system/cpu/online",
)
# systemd mounts these itself where they are empty, which a user namespace forbids; LXD binds the same list.
_KERNEL_FOLDERS = (
    "proc/sys/fs/binfmt_misc",
    "sys/firmware/efi/efivars",
    "sys/fs/fuse/connections",
    "sys/fs/pstore",
    "sys/kernel/config",
    "sys/kernel/debug",
    "sys/kernel/security",
    "sys/kernel/tracing",
)
_MOUNT = "lxc.mount.entry = "
_OOM_SCORE = Path("/proc/self/oom_score_adj")
# liblxc's profile lets a guest mount next to nothing. In a user namespace the kernel itself says what may be mounted; elsewhere
# systemd still has to mount the one tree of control groups that it is told to use (init_words).
_ALL_MOUNTS = ("mount", "umount", "remount", "pivot_root")
_CGROUP_MOUNTS = ("mount fstype=cgroup2 -> /sys/fs/cgroup/", "mount fstype=cgroup2 -> /sys/fs/cgroup/**")
_APPARMOR = Path("/sys/module/apparmor/parameters/enabled")


@dataclass(frozen=True)
class Host:
    """What the file needs to know beyond the plan: group names, cgroup settings in this host's words, lxcfs's mount, the
    seccomp profile."""

    group: str
    monitor_group: str
    pivot_group: str
    settings: Sequence[tuple[str, str]]
    legacy: frozenset[str]
    lxcfs: Path | None
    seccomp: Path | None = None


def text(plan: LaunchPlan, host: Host) -> str:
    """The whole file. Raises Invalid for a value that would break out of its line."""
    lines = [
        *_basics(plan),
        *_confinement(plan, host.seccomp),
        *_cgroups(plan, host),
        *(f"{_MOUNT}{_entry(mount)}" for mount in [*_own_mounts(plan, host.lxcfs), *plan.mounts]),
        *_links(plan),
        *(f"lxc.environment = {key}={value}" for key, value in plan.environment.items()),
        *(f"lxc.prlimit.{key} = {value}" for key, value in plan.rlimits.items()),
        *(f"lxc.sysctl.{key} = {value}" for key, value in plan.sysctls.items()),
    ]
    for line in lines:
        if "\n" in line or "\0" in line:
            raise Invalid(f"a line break is not allowed in {line.partition(' = ')[2]!r}")
    return "\n".join([*lines, plan.raw, ""])


def bound(text: str) -> Iterator[tuple[str, str]]:
    """Source and target (relative to the guest's root) of each plain bind mount in such a file."""
    for line in text.splitlines():
        if line.startswith(_MOUNT) and "bind" in (words := line.removeprefix(_MOUNT).split(" "))[3].split(","):
            yield _unescape(words[0]), _unescape(words[1])


def init_words(plan: LaunchPlan) -> list[str]:
    """The init with its arguments: systemd is told to use cgroup 2 alone, which is the one tree that a move carries over."""
    if len(plan.init) == 1:
        init = resolve_in_root(plan.rootfs, plan.init[0])
        if init is not None and init.name == "systemd":
            return [*plan.init, "systemd.unified_cgroup_hierarchy=1"]
    return plan.init


def _basics(plan: LaunchPlan) -> Iterator[str]:
    yield f"lxc.arch = {plan.architecture}"
    yield f"lxc.rootfs.path = dir:{plan.rootfs}"
    yield f"lxc.uts.name = {plan.hostname or plan.name}"
    yield f"lxc.init.cmd = {shlex.join(init_words(plan))}"
    for extent in plan.idmap:
        yield f"lxc.idmap = {extent.kind} {extent.inside} {extent.outside} {extent.count}"
    yield "lxc.autodev = 1"
    yield "lxc.pty.max = 1024"
    yield "lxc.tty.max = 0"
    yield "lxc.console.path = none"
    yield f"lxc.mount.auto = {'proc:rw sys:rw' if plan.idmap else 'proc:mixed sys:mixed'}"
    # liblxc puts `exec` before the command and the guest's name behind it. Failing keeps liblxc from rebooting by itself.
    # The file exists already: overwriting it in place works on a full disk too.
    yield f'lxc.hook.post-stop = </dev/null; echo "$LXC_TARGET" 1<>{shlex.quote(str(plan.directory / ENDED))}; exit 1 #'


def _confinement(plan: LaunchPlan, seccomp: Path | None) -> Iterator[str]:
    if not plan.idmap:
        yield f"lxc.cap.drop = {_DROPPED}"
    if int(_OOM_SCORE.read_text()) < 0:
        # The service manager may shield the daemon from the out-of-memory killer; its guests are not to inherit that.
        yield "lxc.proc.oom_score_adj = 0"
    if seccomp is not None:
        yield f"lxc.seccomp.profile = {seccomp}"
    if _APPARMOR.exists() and _APPARMOR.read_text().startswith("Y"):
        yield "lxc.apparmor.profile = generated"
        yield f"lxc.apparmor.allow_nesting = {int(plan.nesting)}"
        yield from (f"lxc.apparmor.raw = {rule}," for rule in (_ALL_MOUNTS if plan.idmap else _CGROUP_MOUNTS))


def _cgroups(plan: LaunchPlan, host: Host) -> Iterator[str]:
    yield f"lxc.cgroup.dir.container = {host.group}"
    yield f"lxc.cgroup.dir.monitor = {host.monitor_group}"
    # Where a monitor goes to remove its own group; by default a group that liblxc leaves behind at the top.
    yield f"lxc.cgroup.dir.monitor.pivot = {host.pivot_group}"
    for file, value in host.settings:
        yield f"{_prefix(file, host.legacy)}.{file} = {value}"
    if not plan.idmap:
        devices = _prefix("devices", host.legacy)
        yield f"{devices}.devices.deny = a"
        for rule in _DEVICES:
            yield f"{devices}.devices.allow = {rule}"
        for device in plan.device_rules:
            yield f"{devices}.devices.{'allow' if device.allow else 'deny'} = {device.rule}"


def _prefix(file: str, legacy: frozenset[str]) -> str:
    return "lxc.cgroup" if file.partition(".")[0] in legacy else "lxc.cgroup2"


def _own_mounts(plan: LaunchPlan, lxcfs: Path | None) -> Iterator[Mount]:
    yield Mount("mqueue", "dev/mqueue", "mqueue", "rw,relatime,create=dir,optional")
    if plan.console is not None:
        yield Mount(str(plan.console), "dev/console", options="bind,create=file")
    for device in ("dev/fuse", "dev/net/tun"):
        yield Mount(f"/{device}", device, options="bind,create=file,optional")
    for folder in _KERNEL_FOLDERS:
        if Path("/", folder).is_dir():
            yield Mount(f"/{folder}", folder, options="rbind,optional")
    if plan.nesting:
        # A nested guest may mount proc and sysfs only where whole ones, nothing mounted over them, can be seen.
        yield Mount("proc", "dev/.lxc/proc", "proc", "create=dir,optional")
        yield Mount("sysfs", "dev/.lxc/sys", "sysfs", "create=dir,optional")
    if lxcfs is not None:
        for file in _offered(lxcfs):
            yield Mount(f"{lxcfs}/{file}", file, options="bind,optional")


def _offered(lxcfs: Path) -> list[str]:
    """lxcfs's files; none when it is not mounted or its process died (then every access fails)."""
    try:
        return [file for file in _LXCFS if os.access(lxcfs / file, os.R_OK)]
    except OSError:
        return []


def _entry(mount: Mount) -> str:
    words: Iterable[str] = (mount.source, mount.target.lstrip("/"), mount.fstype, mount.options)
    return " ".join([*(_escape(word) for word in words), "0", "0"])


def _escape(word: str) -> str:
    """As fstab(5) wants it: octal for what separates."""
    for character in "\\ \t\n":
        word = word.replace(character, f"\\{ord(character):03o}")
    return word


def _unescape(word: str) -> str:
    for character in " \t\n\\":
        word = word.replace(f"\\{ord(character):03o}", character)
    return word


def _links(plan: LaunchPlan) -> Iterator[str]:
    if not plan.links:
        yield "lxc.net.0.type = empty"
    for number, link in enumerate(plan.links):
        if plan.images is None:
            yield f"lxc.net.{number}.type = phys"
            yield f"lxc.net.{number}.link = {link.host_name}"
        else:
            # liblxc restores no other type than this; the front replaces what it makes of it.
            yield f"lxc.net.{number}.type = veth"
            yield f"lxc.net.{number}.veth.pair = {link.host_name}"
        yield f"lxc.net.{number}.name = {link.name}"
        yield f"lxc.net.{number}.flags = up"
        if link.hwaddr:
            yield f"lxc.net.{number}.hwaddr = {link.hwaddr}"
        if link.mtu:
            yield f"lxc.net.{number}.mtu = {link.mtu}"
        for address in link.addresses:
            yield f"lxc.net.{number}.ipv{6 if ':' in address else 4}.address = {address}"
        for gateway in link.gateways:
            yield f"lxc.net.{number}.ipv{6 if ':' in gateway else 4}.gateway = {gateway}"
