"""Links joined to bridges and switched off by ioctl, in microseconds, and frames sent for a guest that has just come."""

import contextlib
import errno
import fcntl
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCBRADDIF = 0x8913, 0x8914, 0x89A2
_IFF_UP = 0x1
_ETH_ARP, _ETH_IPV6 = 0x0806, 0x86DD
_ALL_NODES = IPv6Address("ff02::1")


def join(bridge: str, link: str) -> None:
    """Make the link a port of the bridge; nothing happens when it is one already. OSError when one of them is not there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way:
        index = socket.if_nametoindex(link)
        try:
            fcntl.ioctl(way, _SIOCBRADDIF, struct.pack("16si20x", bridge.encode(), index))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise


def switch_off(link: str) -> None:
    """Let nothing more through a link; nothing happens when there is none."""
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way,
    ):
        answer = fcntl.ioctl(way, _SIOCGIFFLAGS, struct.pack("16sH22x", link.encode(), 0))
        flags = struct.unpack_from("16sH", answer)[1]
        fcntl.ioctl(way, _SIOCSIFFLAGS, struct.pack("16sH22x", link.encode(), flags & ~_IFF_UP))


def announce(bridge: str, hwaddr: str, addresses: Iterable[str]) -> None:
    """Tell everybody on the bridge that these addresses are now behind it: gratuitous ARP, unsolicited neighbour advertisements."""
    own = bytes.fromhex(hwaddr.replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as way:
        way.bind((bridge, 0))
        for address in map(ip_address, addresses):
            frame = _arp(own, address) if isinstance(address, IPv4Address) else _advertisement(own, address)
            way.send(frame)


def _arp(own: bytes, address: IPv4Address) -> bytes:
    ethernet = b"\xff" * 6 + own + struct.pack("!H", _ETH_ARP)
    return ethernet + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + address.packed + bytes(6) + address.packed


def _advertisement(own: bytes, address: IPv6Address) -> bytes:
    """RFC 4861, 4.4: override set, with the target's link-layer address."""
    ethernet = b"\x33\x33\x00\x00\x00\x01" + own + struct.pack("!H", _ETH_IPV6)
    body = struct.pack("!BBHI", 136, 0, 0, 0x2000_0000) + address.packed + b"\x02\x01" + own
    pseudo = address.packed + _ALL_NODES.packed + struct.pack("!II", len(body), 58)
    total = sum(struct.unpack(f"!{len(pseudo + body) // 2}H", pseudo + body))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    body = body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:]
    return ethernet + struct.pack("!IHBB", 0x6000_0000, len(body), 58, 255) + address.packed + _ALL_NODES.packed + body
