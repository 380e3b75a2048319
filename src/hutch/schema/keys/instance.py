"""Config keys of instances (and of profiles)."""

import re

from hutch.errors import Invalid
from hutch.schema import schedule
from hutch.schema.base import Config
from hutch.schema.keys import walls
from hutch.schema.keys.base import (
    USER,
    Key,
    as_bool,
    as_bytes,
    as_int,
    boolean,
    check_all,
    choice,
    integer,
    is_bool,
    prefixes,
    size,
    text,
)

PATTERNS: dict[str, Key] = USER | {
    "environment.*": text("A variable of the environment of init, and of what exec and shell run", live=True),
    "image.*": text("A property of the image that the instance was made from"),
    "limits.kernel.*": text(
        "A resource limit of the guest's init (ulimit): NUMBER, SOFT:HARD or unlimited", live=False
    ),
    "linux.sysctl.*": text("A setting of the kernel that the guest has for itself", live=False),
    "volatile.*": text("What hutch notes of the instance"),
}
"""Keys of which the part in place of the star is free."""

FREE = prefixes(PATTERNS)

HUGE_PAGES = ("64KB", "1MB", "2MB", "1GB")
"""Sizes of huge pages as the kernel's control groups name them."""

_RLIMITS = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc"),
    *("rss", "rtprio", "rttime", "sigpending", "stack"),
)


def _memory(value: str) -> object:
    if value.endswith("%") and value[:-1].isdigit():
        return value
    return as_bytes(value)


def _swap(value: str) -> object:
    return as_bool(value) if is_bool(value) else _memory(value)


def _allowance(value: str) -> object:
    if not re.fullmatch(r"\d+(\.\d+)?%|\d+ms/\d+ms", value):
        raise Invalid(f"invalid CPU allowance {value!r}: 50% or 25ms/100ms is expected")
    return value


def _cpus(value: str) -> object:
    if not re.fullmatch(r"[1-9]\d*|\d+(-\d+)?(,\d+(-\d+)?)*", value) or value == "0":
        raise Invalid(f"invalid CPU limit {value!r}: a number of CPUs or a set such as 0-3 or 0,2 is expected")
    return value


def _priority(value: str) -> object:
    if not 0 <= (number := as_int(value)) <= 10:
        raise Invalid(f"invalid priority {number}: 0 to 10 is expected")
    return number


def _processes(value: str) -> object:
    if (number := as_int(value)) < 1:
        raise Invalid(f"invalid number of processes {number}: at least 1 is expected")
    return number


def kernel_modules(value: str) -> list[str]:
    """A comma separated list of modules."""
    found = [word.strip() for word in value.split(",") if word.strip()]
    for name in found:
        if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
            raise Invalid(f"invalid name of a kernel module: {name!r}")
    return found


KEYS: dict[str, Key] = {
    "boot.autostart": boolean("Start with the host; without it the last power state is restored", "", live=True),
    "boot.autostart.delay": integer("Seconds to wait after the start before the next instance is started", "0"),
    "boot.autostart.priority": integer("Instances with a higher number start earlier", "0"),
    "boot.host_shutdown_action": choice(
        "What happens to the guest when the host goes down: stateful-stop keeps its memory for the next start",
        *("stop", "force-stop", "stateful-stop"),
        default="stop",
    ),
    "boot.host_shutdown_timeout": integer("Seconds that the guest is given to stop when the host goes down", "30"),
    "boot.stop.priority": integer("Instances with a higher number stop earlier", "0"),
    "cluster.evacuate": choice(
        "What an evacuation does with the instance", "auto", "migrate", "live-migrate", "stop", default="auto"
    ),
    "limits.cpu": Key("Number of CPUs, or the set of those that may be used", "string", check=_cpus),
    "limits.cpu.allowance": Key(
        "Share of the CPU under load (50%) or a hard limit (25ms/100ms)", "string", "100%", check=_allowance
    ),
    "limits.cpu.priority": Key(
        "Share of CPU time beside others with the same set, 0 to 10", "integer", "10", check=_priority
    ),
    "limits.disk.priority": Key(
        "Share of disk time beside others under load, 0 to 10", "integer", "5", check=_priority
    ),
    "limits.memory": Key("Bytes of memory, or a percentage of the host's", "size", check=_memory),
    "limits.memory.enforce": choice(
        "hard: the guest never has more; soft: only when the host is short of memory", "hard", "soft", default="hard"
    ),
    "limits.memory.swap": Key(
        "Whether the guest's memory may be swapped out, or how much of it: bytes or a percentage",
        "bool or size",
        "true",
        check=_swap,
    ),
    "limits.memory.swap.priority": Key(
        "0 to 10: the higher, the later the guest's memory is swapped out; version 1 of control groups only",
        "integer",
        "10",
        check=_priority,
    ),
    "limits.network.priority": Key(
        "Priority of what the guest sends in the host's queues, 0 to 10, for nics without a limits.priority",
        "integer",
        "0",
        check=_priority,
    ),
    "limits.processes": Key("The most processes that may run", "integer", check=_processes),
    "linux.kernel_modules": Key(
        "Modules of the kernel, comma separated, that are loaded before the start", check=kernel_modules, live=False
    ),
    "migration.stateful": boolean("Whether stateful stop, snapshot and live migration are allowed", "false"),
    "security.devlxd": boolean("Whether the guest has an API of its own at /dev/lxd and /dev/incus", "true"),
    "security.devlxd.images": boolean("Whether the guest may fetch images by its API", "false"),
    "security.guestapi": boolean("Incus's name for security.devlxd: both must be true", "true"),
    "security.guestapi.images": boolean("Incus's name for security.devlxd.images: one of them is enough", "false"),
    "snapshots.expiry": Key("When snapshots are removed, as in 1M 2H 3d 4w 5m 6y", check=schedule.check_span),
    "snapshots.pattern": text("Name of automatic snapshots, a pongo2 template", default="snap%d"),
    "snapshots.schedule": Key("When snapshots are made, as cron has it, or @hourly, @daily ...", check=schedule.parse),
    "snapshots.schedule.stopped": boolean("Whether the schedule goes on while the instance is stopped", "false"),
    "cloud-init.network-config": text("Network configuration for cloud-init"),
    "cloud-init.user-data": text("User data for cloud-init"),
    "cloud-init.vendor-data": text("Vendor data for cloud-init"),
}
KEYS |= walls.KEYS
KEYS |= {
    f"limits.hugepages.{pages}": size(f"Bytes of huge pages of {pages}; no limit when empty") for pages in HUGE_PAGES
}


def check(what: str, config: Config) -> None:
    """Invalid with a sentence for a key that is unknown or whose value does not fit."""
    check_all(what, config, KEYS, free=FREE)
    walls.check(what, config)
    for key in config:
        if key.startswith("environment.") and not re.fullmatch(r"environment\.\w+", key):
            raise Invalid(f"{what}: invalid environment variable name in {key}")
        if key.startswith("limits.kernel.") and config[key]:
            _check_rlimit(what, key, config[key])
        if key.startswith("linux.sysctl.") and not re.fullmatch(r"linux\.sysctl\.[\w.*/-]+", key):
            raise Invalid(f"{what}: invalid name of a sysctl in {key}")


def _check_rlimit(what: str, key: str, value: str) -> None:
    if (name := key.removeprefix("limits.kernel.")) not in _RLIMITS:
        raise Invalid(f"{what}: Unknown configuration key: {key} (known limits: {', '.join(_RLIMITS)})")
    parts = value.split(":")
    if len(parts) > 2 or not all(re.fullmatch(r"\d+|unlimited", part) for part in parts):
        raise Invalid(f"{what}: invalid value {value!r} for {key}: NUMBER, SOFT:HARD or unlimited is expected")
    if len(parts) == 2 and _rlimit(parts[0]) > _rlimit(parts[1]):
        raise Invalid(f"{what}: {key}: the soft limit of {name} is above the hard one")


def _rlimit(value: str) -> float:
    return float("inf") if value == "unlimited" else int(value)


def privileged(config: Config) -> bool:
    return as_bool(config.get("security.privileged"))


def number(config: Config, key: str) -> int:
    """The integer value of a key, or its default."""
    return as_int(config.get(key) or KEYS[key].default)


def flag(config: Config, key: str) -> bool:
    """The boolean value of a key, or its default."""
    return as_bool(config.get(key) or KEYS[key].default)
