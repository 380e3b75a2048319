"""Config keys of instances (and of profiles)."""

import re

from hutch.errors import Invalid
from hutch.schema.base import Config
from hutch.schema.keys.base import Key, as_bool, as_bytes, as_int, boolean, check_all, integer, text

FREE = ("user.", "volatile.", "environment.", "image.", "linux.sysctl.", "limits.kernel.")


def _memory(value: str) -> object:
    if value.endswith("%") and value[:-1].isdigit():
        return value
    return as_bytes(value)


def _allowance(value: str) -> object:
    if not re.fullmatch(r"\d+(\.\d+)?%|\d+ms/\d+ms", value):
        raise Invalid(f"invalid CPU allowance {value!r}: 50% or 25ms/100ms is expected")
    return value


def _cpus(value: str) -> object:
    if not re.fullmatch(r"\d+|\d+(-\d+)?(,\d+(-\d+)?)*", value):
        raise Invalid(f"invalid CPU limit {value!r}: a number of CPUs or a set such as 0-3 or 0,2 is expected")
    return value


def _priority(value: str) -> object:
    if not 0 <= (number := as_int(value)) <= 10:
        raise Invalid(f"invalid priority {number}: 0 to 10 is expected")
    return number


KEYS: dict[str, Key] = {
    "boot.autostart": boolean("Start with the host; without it the last power state is restored", "", live=True),
    "boot.autostart.delay": integer("Seconds to wait after the start before the next instance is started", "0"),
    "boot.autostart.priority": integer("Instances with a higher number start earlier", "0"),
    "boot.host_shutdown_timeout": integer("Seconds that the guest is given to stop when the host goes down", "30"),
    "boot.stop.priority": integer("Instances with a higher number stop earlier", "0"),
    "cluster.evacuate": text("What an evacuation does with the instance", "auto"),
    "limits.cpu": Key("Number of CPUs, or the set of those that may be used", "string", check=_cpus),
    "limits.cpu.allowance": Key(
        "Share of the CPU under load (50%) or a hard limit (25ms/100ms)", "string", "100%", check=_allowance
    ),
    "limits.cpu.priority": Key(
        "Share of CPU time beside others with the same set, 0 to 10", "integer", "10", check=_priority
    ),
    "limits.memory": Key("Bytes of memory, or a percentage of the host's", "size", check=_memory),
    "limits.memory.enforce": Key("hard, or soft: only under memory pressure", "string", "hard"),
    "limits.memory.swap": boolean("Whether the guest's memory may be swapped out", "true"),
    "limits.processes": integer("The most processes that may run"),
    "migration.stateful": boolean("Whether stateful stop, snapshot and live migration are allowed", "false"),
    "raw.lxc": text("Lines for liblxc's configuration, as they are", live=False),
    "security.nesting": boolean("Whether containers may run inside", "false", live=False),
    "security.privileged": boolean("Whether the guest's root is the host's root", "false", live=False),
    "security.protection.delete": boolean("Refuse to delete the instance", "false"),
    "cloud-init.network-config": text("Network configuration for cloud-init"),
    "cloud-init.user-data": text("User data for cloud-init"),
    "cloud-init.vendor-data": text("Vendor data for cloud-init"),
}


def check(what: str, config: Config) -> None:
    """Invalid with a sentence for a key that is unknown or whose value does not fit."""
    check_all(what, config, KEYS, free=FREE)
    for key in config:
        if key.startswith("environment.") and not re.fullmatch(r"environment\.\w+", key):
            raise Invalid(f"{what}: invalid environment variable name in {key}")


def privileged(config: Config) -> bool:
    return as_bool(config.get("security.privileged"))


def number(config: Config, key: str) -> int:
    """The integer value of a key, or its default."""
    return as_int(config.get(key) or KEYS[key].default)


def flag(config: Config, key: str) -> bool:
    """The boolean value of a key, or its default."""
    return as_bool(config.get(key) or KEYS[key].default)
