"""Leases that dnsmasq has given, read from its file, and taken back by the packets a guest would send."""

import contextlib
import os
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

from hutch.network.base import Lease, Reservation

_SO_BINDTODEVICE = 25


@dataclass(frozen=True)
class Given:
    """A line of the leases file. `hwaddr` is empty for IPv6, `iaid` is for IPv6."""

    address: str
    hostname: str
    hwaddr: str
    client: str
    iaid: int = 0

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.address

    def belongs_to(self, nic: Reservation, *, named: bool) -> bool:
        """Whether a nic has this lease; `named` says that hostnames are what DHCP gave, not what guests ask for.

        An IPv6 client identifies itself by a DUID, which has the hardware address in it only with some of them.
        """
        mac = nic.hwaddr.lower()
        if not self.is_ipv6:
            return self.hwaddr == mac
        by_name = named and nic.project == "default" and self.hostname == nic.instance
        return by_name or self.client.lower().endswith(mac) or self.address == nic.ipv6


def given(path: Path) -> list[Given]:
    """The leases of the file; none when it does not exist."""
    found: list[Given] = []
    with contextlib.suppress(FileNotFoundError):
        for text in path.read_text().splitlines():
            words = text.split()
            if len(words) < 5:
                continue
            _, middle, address, hostname, client = words[:5]
            name = "" if hostname == "*" else hostname
            if ":" in address:
                found.append(Given(address, name, "", client, int(middle.removeprefix("T"))))
            else:
                found.append(Given(address, name, middle.lower(), "" if client == "*" else client))
    return found


def server_id(path: Path) -> str:
    """The DUID under which dnsmasq gives IPv6 leases."""
    with contextlib.suppress(FileNotFoundError):
        for text in path.read_text().splitlines():
            if text.startswith("duid "):
                return text.split()[1]
    return ""


def eui64(network: IPv6Network, hwaddr: str) -> str:
    """The address that a guest makes for itself out of its hardware address (RFC 4291, appendix A)."""
    mac = bytes.fromhex(hwaddr.replace(":", ""))
    tail = bytes([mac[0] ^ 2, mac[1], mac[2], 0xFF, 0xFE, mac[3], mac[4], mac[5]])
    return str(IPv6Address(int(network.network_address) | int.from_bytes(tail, "big")))


def of_guests(
    reserved: list[Reservation],
    leased: list[Given],
    seen: list[tuple[str, str]],
    *,
    slaac: IPv6Network | None,
    named: bool,
) -> list[Lease]:
    """What each nic has or may take: its fixed addresses, what DHCP gave, what it made for itself or was `seen` to use.

    `slaac` is the network that guests make addresses in. Leases of what is no instance's nic come last.
    """
    found: dict[str, Lease] = {}
    for nic in reserved:
        for address in filter(None, (nic.ipv4, nic.ipv6)):
            found[address] = Lease(nic.instance, nic.hwaddr, address, "static")
        if slaac is not None and not nic.ipv6:
            address = eui64(slaac, nic.hwaddr)
            found.setdefault(address, Lease(nic.instance, nic.hwaddr, address, "dynamic"))
    for entry in leased:
        owner = next((nic for nic in reserved if entry.belongs_to(nic, named=named)), None)
        hostname, hwaddr = (owner.instance, owner.hwaddr) if owner is not None else (entry.hostname, entry.hwaddr)
        found.setdefault(entry.address, Lease(hostname, hwaddr, entry.address, "dynamic"))
    owners = {nic.hwaddr.lower(): nic.instance for nic in reserved}
    for address, hwaddr in seen:
        if slaac is not None and hwaddr in owners and IPv6Address(address) in slaac:
            found.setdefault(address, Lease(owners[hwaddr], hwaddr, address, "dynamic"))
    return list(found.values())


def give_back(interface: str, gateway: str, lease: Given, server: str = "") -> None:
    """Tell dnsmasq, in the guest's name, that it does not need the lease any more."""
    if lease.is_ipv6:
        if not (gateway and server):
            return
        _send(interface, socket.AF_INET6, ("ff02::1:2", 547), _release6(lease, server))
    elif gateway:
        _send(interface, socket.AF_INET, (gateway, 67), _release4(lease, gateway))


def _send(interface: str, family: int, target: tuple[str, int], packet: bytes) -> None:
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, interface.encode() + b"\0")
        if family == socket.AF_INET6:
            index = socket.if_nametoindex(interface)
            channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        channel.sendto(packet, target)


def _option4(code: int, value: bytes) -> bytes:
    return bytes([code, len(value)]) + value


def _release4(lease: Given, gateway: str) -> bytes:
    """DHCPRELEASE (RFC 2131): op 1, Ethernet, the guest's address in ciaddr and its hardware address in chaddr."""
    mac = bytes.fromhex(lease.hwaddr.replace(":", ""))
    head = struct.pack("!BBBB4sHH", 1, 1, 6, 0, os.urandom(4), 0, 0)
    head += IPv4Address(lease.address).packed + bytes(12) + mac.ljust(16, b"\0") + bytes(192)
    options = _option4(53, b"\7") + _option4(54, IPv4Address(gateway).packed)
    if lease.client:
        options += _option4(61, bytes.fromhex(lease.client.replace(":", "")))
    return head + b"\x63\x82\x53\x63" + options + b"\xff"


def _option6(code: int, value: bytes) -> bytes:
    return struct.pack("!HH", code, len(value)) + value


def _release6(lease: Given, server: str) -> bytes:
    """RELEASE (RFC 8415): client and server identifiers, and the address inside its IA_NA."""
    address = _option6(5, IPv6Address(lease.address).packed + bytes(8))
    return (
        bytes([8])
        + os.urandom(3)
        + _option6(1, bytes.fromhex(lease.client.replace(":", "")))
        + _option6(2, bytes.fromhex(server.replace(":", "")))
        + _option6(3, struct.pack("!III", lease.iaid, 0, 0) + address)
    )
