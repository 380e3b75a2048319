"""The config keys of devices, a table a driver."""

import posixpath
import re

from hutch.errors import Invalid
from hutch.schema.keys.base import Key, as_bits, as_bytes, as_int, boolean, choice, integer, text
from hutch.schema.keys.network import ACLS, hwaddr, interface_name, ipv4, ipv6, mtu, subnets4, subnets6


def inside(value: str) -> str:
    """A path inside an instance: absolute, without . and .. in it."""
    if not value.startswith("/") or ".." in value.split("/") or not value.isprintable():
        raise Invalid(f"invalid path {value!r}: an absolute path without .. is expected")
    return "/" + posixpath.normpath(value).lstrip("/")


def _queue(value: str) -> int:
    if not 0 <= (number := as_int(value)) <= 1_000_000:
        raise Invalid(f"invalid length of a queue {number}: 0 to 1000000 is expected")
    return number


def _priority(value: str) -> int:
    if not 0 <= (number := as_int(value)) <= 10:
        raise Invalid(f"invalid priority {number}: 0 to 10 is expected")
    return number


def _ipv4(value: str) -> object:
    return value if value == "none" else ipv4(value)


def _ipv6(value: str) -> object:
    return value if value == "none" else ipv6(value)


_NIC: dict[str, Key] = {
    "nictype": text("How the interface is attached"),
    "name": Key("Name inside the instance", default="ethN", check=interface_name),
    "hwaddr": Key("MAC address", "MAC address", "random, kept", check=hwaddr),
    "host_name": Key("Name of the end on the host", default="random", check=interface_name),
    "mtu": Key("MTU", "integer", "the parent's", check=mtu),
    "boot.priority": integer("Boot priority of virtual machines"),
}

_VETH: dict[str, Key] = _NIC | {
    "queue.tx.length": Key("Length of both ends' transmit queues, in packets", "integer", "1000", check=_queue),
    "limits.ingress": Key("The most bits a second that the guest receives", "bit/s", check=as_bits),
    "limits.egress": Key("The most bits a second that the guest sends", "bit/s", check=as_bits),
    "limits.max": Key("limits.ingress and limits.egress in one", "bit/s", check=as_bits),
    "limits.priority": Key(
        "Priority of what the guest sends in the host's queues, 0 to 10", "integer", check=_priority
    ),
    "ipv4.routes": Key("Subnets that the host reaches by this nic, comma separated", "IPv4 subnets", check=subnets4),
    "ipv6.routes": Key("Subnets that the host reaches by this nic, comma separated", "IPv6 subnets", check=subnets6),
}

NIC_P2P = _VETH

NIC_BRIDGED: dict[str, Key] = _VETH | {
    "parent": Key("The bridge", check=interface_name),
    "network": text("The managed network, in place of nictype and parent"),
    "ipv4.address": Key(
        "Address that DHCP always gives; none with security.ipv4_filtering", "IPv4 address", check=_ipv4
    ),
    "ipv6.address": Key(
        "Address that DHCPv6 always gives; none with security.ipv6_filtering", "IPv6 address", check=_ipv6
    ),
    "security.mac_filtering": boolean("Drop what the guest sends with a MAC address that is not this nic's"),
    "security.ipv4_filtering": boolean(
        "Drop what the guest sends with an IPv4 address that is not this nic's; implies security.mac_filtering"
    ),
    "security.ipv6_filtering": boolean(
        "Drop what the guest sends with an IPv6 address that is not this nic's (without DHCPv6: the one made of its MAC "
        "address), and router advertisements; implies security.mac_filtering"
    ),
    **ACLS,
    "security.port_isolation": boolean("Keep the guest from other isolated ports of the bridge"),
}

NIC_MACVLAN: dict[str, Key] = _NIC | {
    "parent": Key("The interface of the host", check=interface_name),
    "network": text("The managed network, in place of nictype and parent"),
    "mode": choice(
        "How guests on one parent see each other", "bridge", "private", "vepa", "passthru", default="bridge"
    ),
}
del NIC_MACVLAN["host_name"]

NIC_PHYSICAL: dict[str, Key] = {key: row for key, row in NIC_MACVLAN.items() if key != "mode"}


def addresses(version: int, value: str) -> list[str]:
    """IP addresses, comma separated."""
    return [str((ipv4 if version == 4 else ipv6)(part.strip())) for part in value.split(",")]


def _addresses4(value: str) -> object:
    return value if value == "none" else addresses(4, value)


def _addresses6(value: str) -> object:
    return value if value == "none" else addresses(6, value)


NIC_ROUTED: dict[str, Key] = _VETH | {
    "parent": Key("The interface of the host on which it answers for the guest's addresses", check=interface_name),
    "ipv4.address": Key("The guest's addresses, comma separated", "IPv4 addresses", check=_addresses4),
    "ipv6.address": Key("The guest's addresses, comma separated", "IPv6 addresses", check=_addresses6),
    "ipv4.gateway": choice("Whether the guest gets a default route: auto or none", "auto", "none", default="auto"),
    "ipv6.gateway": choice("Whether the guest gets a default route: auto or none", "auto", "none", default="auto"),
    "ipv4.host_address": Key("Address of the host's end", "IPv4 address", "169.254.0.1", check=ipv4),
    "ipv6.host_address": Key("Address of the host's end", "IPv6 address", "fe80::1", check=ipv6),
}


def _rate(value: str) -> object:
    return value if re.fullmatch(r"[1-9]\d*\s*iops", value) else as_bytes(value)


DISK: dict[str, Key] = {
    "path": Key("Path inside the instance; / is the root filesystem", check=inside, required=True, live=False),
    "source": text("Path on the host, or with pool the name of a custom volume"),
    "pool": text("Storage pool of the root filesystem, or of the custom volume"),
    "size": Key("Size of the root filesystem", "size", check=as_bytes),
    "readonly": boolean("Whether the guest may not write"),
    "required": boolean("Whether the instance cannot start without the source", "true"),
    "optional": boolean("The opposite of `required`, LXD's earlier word"),
    "recursive": boolean("Whether what is mounted below the source comes with it"),
    "shift": boolean("Whether owners are shifted, so that root's files are the guest's root's"),
    "limits.read": Key("The most that is read: bytes a second, or 500iops", "bytes/s or iops", check=_rate),
    "limits.write": Key("The most that is written: bytes a second, or 500iops", "bytes/s or iops", check=_rate),
    "limits.max": Key("limits.read and limits.write in one", "bytes/s or iops", check=_rate),
    "propagation": choice("Whether later mounts below are seen", "private", "slave", "rprivate", "rslave"),
}


def _mode(value: str) -> int:
    if not re.fullmatch("[0-7]{3,4}", value):
        raise Invalid(f"invalid mode {value!r}: octal digits such as 0660 are expected")
    return int(value, 8)


def _number(value: str) -> int:
    if (number := as_int(value)) < 0:
        raise Invalid(f"invalid number {number}: it is negative")
    return number


UNIX: dict[str, Key] = {
    "source": Key("Path of the device on the host; by default `path`", check=inside),
    "path": Key("Path of the device inside the instance; by default `source`", check=inside),
    "major": Key("Major number of the device, in place of what is at `source`", "integer", check=_number),
    "minor": Key("Minor number of the device, in place of what is at `source`", "integer", check=_number),
    "mode": Key("Mode of the device inside", "integer", "0660", check=_mode),
    "uid": Key("Owner of the device inside", "integer", "0", check=_number),
    "gid": Key("Group of the device inside", "integer", "0", check=_number),
    "required": boolean(
        "Whether the instance cannot start without the device; otherwise it comes and goes with the host's", "true"
    ),
}

NONE: dict[str, Key] = {}
