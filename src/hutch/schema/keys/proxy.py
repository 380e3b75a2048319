"""The config keys of proxy devices, and how their addresses are written."""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from hutch.errors import Invalid
from hutch.schema.keys.base import Key, as_int, boolean, choice


@dataclass(frozen=True)
class End:
    """Where a proxy listens or connects: `host` is an address, or a Unix socket's path (@NAME: an abstract one)."""

    kind: str
    host: str
    port: int = 0


def ends(value: str) -> list[End]:
    """`tcp:ADDRESS:PORT[-PORT][,PORT...]`, `udp:...` or `unix:PATH` as one end a port."""
    kind, colon, rest = value.partition(":")
    if not colon or kind not in ("tcp", "udp", "unix"):
        raise Invalid(f"invalid address {value!r}: tcp:ADDRESS:PORT, udp:ADDRESS:PORT or unix:PATH is expected")
    if kind == "unix":
        if not re.fullmatch(r"(@.+|/.*[^/])", rest) or ".." in rest.split("/") or len(rest) > 100 or "\0" in rest:
            raise Invalid(f"invalid socket {rest!r}: an absolute path, or @NAME, of at most 100 characters is expected")
        return [End(kind, rest)]
    host, colon, ports = rest.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        host = str(ip_address(host))
    except ValueError:
        raise Invalid(f"invalid address {value!r}: {host!r} is not an IP address") from None
    return [End(kind, host, port) for port in port_numbers(ports)]


def port_numbers(value: str) -> list[int]:
    """`80,90-92` as numbers."""
    found: list[int] = []
    for part in value.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise Invalid(f"invalid port {part!r}")
        begin, end = int(first), int(last or first)
        if not 0 < begin <= end < 65536:
            raise Invalid(f"invalid port range {part!r}: ports are 1 to 65535")
        found += range(begin, end + 1)
    return found


def _mode(value: str) -> int:
    if not re.fullmatch("[0-7]{3,4}", value):
        raise Invalid(f"invalid mode {value!r}: octal digits such as 0660 are expected")
    return int(value, 8)


def _id(value: str) -> int:
    if not 0 <= (number := as_int(value)) < (1 << 32) - 1:
        raise Invalid(f"invalid id {number}")
    return number


PROXY: dict[str, Key] = {
    "listen": Key("Where to listen: tcp:ADDRESS:PORTS, udp:ADDRESS:PORTS or unix:PATH", check=ends, required=True),
    "connect": Key("Where to connect to, on the other side, written likewise", check=ends, required=True),
    "bind": choice(
        "Which side listens: host or instance (also called guest, container)",
        *("host", "instance", "guest", "container"),
        default="host",
    ),
    "nat": boolean("Rewrite addresses in the kernel instead; needs a nic with a static address"),
    "proxy_protocol": boolean("Tell the target who called, by HAProxy's PROXY protocol"),
    "mode": Key("Mode of the listening Unix socket", "integer", "0644", check=_mode),
    "uid": Key("Owner of the listening Unix socket", "integer", "0", check=_id),
    "gid": Key("Group of the listening Unix socket", "integer", "0", check=_id),
    "security.uid": Key("User to connect as", "integer", "0", check=_id),
    "security.gid": Key("Group to connect as", "integer", "0", check=_id),
}
