"""The config keys of devices, a table a driver."""

import posixpath

from hutch.errors import Invalid
from hutch.schema.keys.base import Key, as_bytes, boolean, choice, integer, text
from hutch.schema.keys.network import hwaddr, interface_name, ipv4, ipv6, mtu


def inside(value: str) -> str:
    """A path inside an instance: absolute, without . and .. in it."""
    if not value.startswith("/") or ".." in value.split("/") or not value.isprintable():
        raise Invalid(f"invalid path {value!r}: an absolute path without .. is expected")
    return "/" + posixpath.normpath(value).lstrip("/")


_NIC: dict[str, Key] = {
    "nictype": text("How the interface is attached"),
    "name": Key("Name inside the instance", default="ethN", check=interface_name),
    "hwaddr": Key("MAC address", "MAC address", "random, kept", check=hwaddr),
    "host_name": Key("Name of the end on the host", default="random", check=interface_name),
    "mtu": Key("MTU", "integer", "the parent's", check=mtu),
    "boot.priority": integer("Boot priority of virtual machines"),
}

NIC_P2P = _NIC

NIC_BRIDGED: dict[str, Key] = _NIC | {
    "parent": Key("The bridge", check=interface_name),
    "network": text("The managed network, in place of nictype and parent"),
    "ipv4.address": Key("Address that DHCP always gives", "IPv4 address", check=ipv4),
    "ipv6.address": Key("Address that DHCPv6 always gives", "IPv6 address", check=ipv6),
}

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
    "propagation": choice("Whether later mounts below are seen", "private", "slave", "rprivate", "rslave"),
}

NONE: dict[str, Key] = {}
