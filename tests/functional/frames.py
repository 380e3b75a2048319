"""Ethernet frames by hand, sent and seen in a guest's own network namespace: what its root could send from inside."""

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

ALL, ROUTERS = "33:33:00:00:00:01", "33:33:00:00:00:02"
BROADCAST = "ff:ff:ff:ff:ff:ff"

_SEND = """
import json, socket, sys
frames = json.load(sys.stdin)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
    out.bind((sys.argv[1], 0))
    for frame in frames:
        out.send(bytes.fromhex(frame))
"""
_WATCH = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3) as source:
    source.bind((sys.argv[1], 3))
    print("ready", flush=True)
    while True:
        frame, (_, _, kind, *_) = source.recvfrom(2048)
        if kind != 4:
            print(frame.hex(), flush=True)
"""


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(source: str, target: str, kind: int, payload: bytes) -> bytes:
    return mac(target) + mac(source) + struct.pack("!H", kind) + payload


def arp(source: str, sender: str, address: str, target: str) -> bytes:
    """A reply to everybody: `address` is at the hardware address `sender`."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac(sender) + ip_address(address).packed
    return ethernet(source, BROADCAST, 0x0806, body + bytes(6) + ip_address(target).packed)


def ipv4(source: str, address: str, target: str, marker: bytes) -> bytes:
    udp = struct.pack("!HHHH", 9, 9, 8 + len(marker), 0) + marker
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    head += ip_address(address).packed + ip_address(target).packed
    return ethernet(source, BROADCAST, 0x0800, head[:10] + struct.pack("!H", _sum(head)) + head[12:] + udp)


def ipv6(
    source: str, address: str, target: str, kind: int, body: bytes, *, before: bytes = b"", next: int = 58
) -> bytes:
    """ICMPv6 of a kind; `before` is an extension header that `next` announces."""
    icmp = bytes([kind, 0, 0, 0]) + body
    pseudo = ip_address(address).packed + ip_address(target).packed + struct.pack("!II", len(icmp), 58)
    icmp = icmp[:2] + struct.pack("!H", _sum(pseudo + icmp)) + icmp[4:]
    head = struct.pack("!IHBB", 6 << 28, len(before) + len(icmp), next, 255)
    return ethernet(source, ALL, 0x86DD, head + ip_address(address).packed + ip_address(target).packed + before + icmp)


def advertisement(source: str, address: str, about: str, link: str, **more: bytes) -> bytes:
    """A neighbour advertisement: `about` is at the hardware address `link`."""
    body = struct.pack("!I", 0x2000_0000) + ip_address(about).packed + bytes([2, 1]) + mac(link)
    return ipv6(source, address, "ff02::1", 136, body, **more)  # type: ignore[arg-type]


def _sum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _inside(pid: int, program: str, link: str) -> list[str]:
    return ["nsenter", "-t", str(pid), "-n", sys.executable, "-I", "-S", "-c", program, link]


def send(pid: int, *frames: bytes, link: str = "eth0") -> None:
    text = json.dumps([frame.hex() for frame in frames])
    subprocess.run(_inside(pid, _SEND, link), input=text, text=True, check=True, timeout=30)


@contextmanager
def watching(pid: int, seen: Path, link: str = "eth0") -> Iterator[None]:
    """Collect what arrives at the link, a frame in hexadecimal a line, in the file `seen`."""
    with seen.open("w") as out:
        process = subprocess.Popen(_inside(pid, _WATCH, link), stdout=out)
        try:
            while "ready" not in seen.read_text():
                assert process.poll() is None
            yield
        finally:
            process.kill()
            process.wait()
