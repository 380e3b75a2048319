"""Links, addresses and routes of the daemon's network namespace, through iproute2's batch input and JSON output.

/sys/class/net shows the namespace that the mount belongs to, which may be another one: it is never read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from hutch.errors import AlreadyExists, HutchError, NotFound, ToolFailed
from hutch.kernel.run import run

Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Address:
    """An address of an interface; `family` is inet or inet6, `scope` global, link or host."""

    family: str
    address: str
    prefix: int
    scope: str

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"


@dataclass(frozen=True)
class Counters:
    bytes_received: int = 0
    bytes_sent: int = 0
    packets_received: int = 0
    packets_sent: int = 0


@dataclass(frozen=True)
class Interface:
    """A link as the kernel has it. `kind` is empty for hardware; `alias` the owner's mark; `details` is `ip -d`'s info_data.

    `lower` is what a vlan is on, or the other end of a veth pair in the same namespace.
    """

    index: int
    name: str
    kind: str
    hwaddr: str
    mtu: int
    up: bool
    flags: frozenset[str]
    alias: str
    master: str
    lower: str
    addresses: tuple[Address, ...]
    counters: Counters
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Route:
    destination: Network
    interface: str


async def batch(*lines: str, repeatable: bool = False) -> None:
    """The commands in one program start, up to the first that fails; `lines` are what follows the word ip.

    `repeatable` ones are given again when the program was killed. Raises AlreadyExists or NotFound where the kernel says
    so, ToolFailed otherwise.
    """
    if not lines:
        return
    try:
        await run(["ip", "-batch", "-"], input="".join(f"{line}\n" for line in lines), repeatable=repeatable)
    except ToolFailed as error:
        raise _translated(error, lines) from error


def _translated(error: ToolFailed, lines: tuple[str, ...]) -> HutchError:
    said = error.stderr.splitlines()
    number = next((line.rpartition(":")[2] for line in said if line.startswith("Command failed")), "")
    failed = lines[int(number) - 1] if number.isdigit() and int(number) <= len(lines) else ""
    reason = " ".join(line for line in said if not line.startswith("Command failed"))
    if "File exists" in reason:
        return AlreadyExists(f"failed to run ip {failed}: it exists already")
    if "Cannot find device" in reason or "does not exist" in reason or "No such device" in reason:
        return NotFound(f"failed to run ip {failed}: {reason}")
    return ToolFailed(["ip", *failed.split()], error.code, reason)


async def interfaces() -> list[Interface]:
    """Every link with its addresses and counters, in the kernel's order."""
    return [_interface(item) for item in json.loads(await run(["ip", "-j", "-d", "-s", "address", "show"])) if item]


async def interface(name: str) -> Interface | None:
    """One link, or None when there is none of that name."""
    out = await run(["ip", "-j", "-d", "-s", "address", "show", "dev", name], ok=(0, 1))
    found = [_interface(item) for item in json.loads(out or "[]") if item]
    return found[0] if found else None


def _interface(item: Mapping[str, Any]) -> Interface:
    info = item.get("linkinfo", {})
    stats = item.get("stats64", {})
    received, sent = stats.get("rx", {}), stats.get("tx", {})
    flags = frozenset(item.get("flags", []))
    return Interface(
        index=item["ifindex"],
        name=item["ifname"],
        kind=info.get("info_kind", ""),
        hwaddr=item.get("address", ""),
        mtu=item.get("mtu", 0),
        up="UP" in flags,
        flags=flags,
        alias=item.get("ifalias", ""),
        master=item.get("master", ""),
        lower=item.get("link") or "",
        addresses=tuple(
            Address(entry["family"], entry["local"], entry["prefixlen"], entry["scope"])
            for entry in item.get("addr_info", [])
            if "local" in entry
        ),
        counters=Counters(
            bytes_received=received.get("bytes", 0),
            bytes_sent=sent.get("bytes", 0),
            packets_received=received.get("packets", 0),
            packets_sent=sent.get("packets", 0),
        ),
        details=info.get("info_data", {}),
    )


async def routes(family: int) -> list[Route]:
    """The routes of every table for IPv4 (4) or IPv6 (6), default routes left out, multicast too."""
    out = await run(["ip", "-j", f"-{family}", "route", "show", "table", "all"])
    everywhere = "0.0.0.0/0" if family == 4 else "::/0"
    found = []
    for item in json.loads(out or "[]"):
        destination = item["dst"]
        if item.get("type") in ("multicast", "broadcast") or destination in ("default", everywhere):
            continue
        found.append(Route(ip_network(destination, strict=False), item.get("dev", "")))
    return found


async def has_default_route() -> bool:
    """Whether the namespace has a way out, by either family."""
    for family in ("-4", "-6"):
        if json.loads(await run(["ip", "-j", family, "route", "show", "default"]) or "[]"):
            return True
    return False


async def neighbours(name: str) -> list[tuple[str, str]]:
    """IPv6 address and hardware address of who has been seen on the interface."""
    out = await run(["ip", "-j", "-6", "neighbour", "show", "dev", name], ok=(0, 1))
    return [
        (item["dst"], item["lladdr"].lower())
        for item in json.loads(out or "[]")
        if item.get("lladdr") and "FAILED" not in item.get("state", [])
    ]


async def delete(name: str) -> bool:
    """Remove a link; false when there was none."""
    try:
        await batch(f"link delete dev {name}", repeatable=True)
    except NotFound:
        return False
    return True


async def names_inside(pid: int) -> set[str]:
    """What the links of a process's network namespace are called."""
    out = await run(["nsenter", "-t", str(pid), "-n", "ip", "-j", "link", "show"])
    return {item["ifname"] for item in json.loads(out or "[]")}
