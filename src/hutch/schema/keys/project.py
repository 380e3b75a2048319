"""The config keys of projects: what they have for themselves, how much they may use, and what they may not do."""

import re
from collections.abc import Callable
from ipaddress import ip_network

from hutch.errors import Invalid
from hutch.schema.base import Config
from hutch.schema.keys.base import (
    USER,
    Key,
    any_text,
    as_bool,
    as_bytes,
    boolean,
    check_all,
    choice,
    prefixes,
    text,
)

FREE = prefixes(USER)

FEATURES_ON = ("features.images", "features.profiles", "features.storage.buckets", "features.storage.volumes")
"""What a new project has for itself unless it is said otherwise."""


def words(value: str) -> list[str]:
    """A comma separated list."""
    return [word.strip() for word in value.split(",") if word.strip()]


def ranges(value: str) -> list[range]:
    """Host ids, comma separated, each a number or FIRST-LAST."""
    found = []
    for word in words(value):
        match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first or last >= 1 << 32:
            raise Invalid(f"invalid range of ids {word!r}: a number or FIRST-LAST is expected")
        found.append(range(first, last + 1))
    return found


def _count(value: str) -> int:
    if not re.fullmatch(r"\d{1,9}", value):
        raise Invalid(f"invalid number {value!r}: 0 or more is expected")
    return int(value)


def paths(value: str) -> list[str]:
    """Folders of the host, comma separated: absolute, without . and .. in them."""
    found = words(value)
    for path in found:
        if not path.startswith("/") or {".", ".."} & set(path.split("/")):
            raise Invalid(f"invalid path {path!r}: absolute paths are expected")
    return found


def _subnets(value: str) -> list[str]:
    for word in words(value):
        network, colon, subnet = word.partition(":")
        try:
            ip_network(subnet)
        except ValueError:
            colon = ""
        if not network or not colon:
            raise Invalid(f"invalid subnet {word!r}: UPLINK:CIDR is expected")
    return words(value)


def _count_of(help: str) -> Key:
    return Key(help, "integer", check=_count)


def _size_of(help: str) -> Key:
    return Key(help, "size", check=as_bytes)


def _list(help: str, check: Callable[[str], object] = any_text) -> Key:
    return Key(help, "string", check=check)


def _gate(help: str) -> Key:
    return choice(f"{help}: allow or block", "allow", "block", default="block")


KEYS: dict[str, Key] = {
    "backups.compression_algorithm": text("Compression of new backups in the project", "the server's"),
    "features.images": boolean("Whether the project has images and aliases of its own", "true"),
    "features.networks": boolean("Whether the project has networks of its own", "false"),
    "features.networks.zones": boolean("Whether the project has DNS zones of its own", "false"),
    "features.profiles": boolean("Whether the project has profiles of its own", "true"),
    "features.storage.buckets": boolean("Whether the project has storage buckets of its own", "true"),
    "features.storage.volumes": boolean("Whether the project has custom volumes of its own", "true"),
    "images.compression_algorithm": text("Compression of new images in the project", "the server's"),
    "limits.containers": _count_of("The most containers"),
    "limits.cpu": _count_of("The most CPUs that the instances' limits.cpu may add up to"),
    "limits.disk": _size_of("The most bytes that the sizes of all volumes may add up to"),
    "limits.instances": _count_of("The most instances"),
    "limits.memory": _size_of("The most bytes that the instances' limits.memory may add up to"),
    "limits.networks": _count_of("The most networks"),
    "limits.processes": _count_of("The most processes that the instances' limits.processes may add up to"),
    "limits.virtual-machines": _count_of("The most virtual machines"),
    "restricted": boolean("Whether the keys restricted.* below are in force", "false"),
    "restricted.backups": _gate("Backups of instances and volumes"),
    "restricted.cluster.groups": _list("Groups of cluster members that may be targeted"),
    "restricted.cluster.target": _gate("Choosing the cluster member of an instance"),
    "restricted.containers.interception": choice(
        "Interception of system calls: allow (but not of mounts), block or full",
        *("allow", "block", "full"),
        default="block",
    ),
    "restricted.containers.lowlevel": _gate("Low-level keys such as raw.lxc and raw.idmap"),
    "restricted.containers.nesting": _gate("security.nesting"),
    "restricted.containers.privilege": choice(
        "Privileged containers: allow, unprivileged (none) or isolated (each with ids of its own)",
        *("allow", "unprivileged", "isolated"),
        default="unprivileged",
    ),
    "restricted.devices.disk": choice(
        "Disk devices: allow, managed (volumes of pools only) or block (none but the root)",
        *("allow", "block", "managed"),
        default="managed",
    ),
    "restricted.devices.disk.paths": _list(
        "Folders of the host that disk sources must lie in when restricted.devices.disk is allow; empty: any", paths
    ),
    "restricted.devices.gpu": _gate("Devices of type gpu"),
    "restricted.devices.infiniband": _gate("Devices of type infiniband"),
    "restricted.devices.nic": choice(
        "Network devices: allow, managed (on managed networks only) or block",
        *("allow", "block", "managed"),
        default="managed",
    ),
    "restricted.devices.pci": _gate("Devices of type pci"),
    "restricted.devices.proxy": _gate("Devices of type proxy"),
    "restricted.devices.unix-block": _gate("Devices of type unix-block"),
    "restricted.devices.unix-char": _gate("Devices of type unix-char"),
    "restricted.devices.unix-hotplug": _gate("Devices of type unix-hotplug"),
    "restricted.devices.usb": _gate("Devices of type usb"),
    "restricted.idmap.gid": _list("Host group ids that raw.idmap may name", ranges),
    "restricted.idmap.uid": _list("Host user ids that raw.idmap may name", ranges),
    "restricted.networks.access": _list("Networks that may be used; empty: all"),
    "restricted.networks.subnets": _list("Subnets of uplinks that may be used, as UPLINK:CIDR", _subnets),
    "restricted.networks.uplinks": _list("Networks that may be uplinks of the project's own"),
    "restricted.networks.zones": _list("DNS zones that may be used, or the domains above them"),
    "restricted.snapshots": _gate("Snapshots of instances and volumes"),
    "restricted.virtual-machines.lowlevel": _gate("Low-level keys of virtual machines"),
}


def check(name: str, config: Config) -> None:
    """Invalid with a sentence for a key that is unknown or whose value does not fit."""
    check_all(f"project {name!r}", config, KEYS, free=FREE)


def is_restricted(config: Config) -> bool:
    return as_bool(config.get("restricted"))


def restriction(config: Config, key: str) -> str:
    """The value of `restricted.KEY` in a restricted project, or its default."""
    key = f"restricted.{key}"
    return config.get(key) or KEYS[key].default
