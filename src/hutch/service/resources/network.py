"""Network cards and their ports: what /sys has, and what ethtool would ask of the driver."""

import fcntl
import socket
import struct
from collections import defaultdict
from contextlib import suppress
from ctypes import addressof, create_string_buffer
from pathlib import Path
from typing import Any

from hutch.kernel.interfaces import Interface
from hutch.service.resources import pci
from hutch.service.resources.read import number, text

_SIOCETHTOOL, _GSET, _GDRVINFO = 0x8946, 0x1, 0x3
_PORTS = ("twisted pair", "AUI", "media-independent", "fibre", "BNC", "direct attach")
_SUPPORTED_PORTS = {7: "twisted pair", 8: "AUI", 9: "media-independent", 10: "fibre", 11: "BNC"}
_MODES = {
    0: "10baseT/Half", 1: "10baseT/Full", 2: "100baseT/Half", 3: "100baseT/Full", 4: "1000baseT/Half",
    5: "1000baseT/Full", 12: "10000baseT/Full", 15: "2500baseX/Full", 17: "1000baseKX/Full", 18: "10000baseKX4/Full",
    19: "10000baseKR/Full", 23: "40000baseKR4/Full", 24: "40000baseCR4/Full", 25: "40000baseSR4/Full",
    26: "40000baseLR4/Full",
}  # fmt: skip
"""Bits of the old SUPPORTED_ word of linux/ethtool.h."""


def found(interfaces: list[Interface]) -> dict[str, Any]:
    cards: dict[Path, list[Interface]] = defaultdict(list)
    for interface in interfaces:
        device = Path("/sys/class/net", interface.name, "device")
        if device.exists():
            cards[device.resolve()].append(interface)
    shown = [_card(device, ports) for device, ports in sorted(cards.items())]
    return {"cards": shown, "total": len(shown)}


def _card(device: Path, interfaces: list[Interface]) -> dict[str, Any]:
    ports = sorted((_port(each) for each in interfaces), key=lambda port: (port["port"], port["id"]))
    firmware = _asked(interfaces[0].name, _GDRVINFO, 196)[68:100].partition(b"\0")[0].decode(errors="replace")
    return pci.card(device) | {"ports": ports, "firmware_version": firmware}


def _port(interface: Interface) -> dict[str, Any]:
    folder = Path("/sys/class/net", interface.name)
    # struct ethtool_cmd: cmd, supported, advertising, speed, duplex, port, phy_address, transceiver, autoneg
    settings = _asked(interface.name, _GSET, 44)
    supported, port, transceiver, automatic = (
        (struct.unpack_from("=I", settings, 4)[0], settings[15], settings[17], settings[18])
        if settings
        else (0, 255, 0, 0)
    )
    return {
        "id": interface.name,
        "address": interface.hwaddr,
        "port": number(folder / "dev_port"),
        "protocol": "ethernet",
        "supported_modes": [name for bit, name in _MODES.items() if supported >> bit & 1],
        "supported_ports": [name for bit, name in _SUPPORTED_PORTS.items() if supported >> bit & 1],
        "port_type": _PORTS[port] if port < len(_PORTS) else "",
        "transceiver_type": ("internal", "external")[transceiver] if settings and transceiver < 2 else "",
        "auto_negotiation": automatic == 1,
        "link_detected": text(folder / "carrier") == "1",
        "link_speed": max(0, number(folder / "speed")),
        "link_duplex": text(folder / "duplex").replace("unknown", ""),
        "infiniband": None,
    }


def _asked(name: str, command: int, size: int) -> bytes:
    """The driver's answer to an ethtool command; empty when it has none."""
    buffer = create_string_buffer(struct.pack("=I", command), size)
    request = struct.pack("16sP16x", name.encode(), addressof(buffer))
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, _SIOCETHTOOL, request)
        return buffer.raw
    return b"" if command == _GSET else bytes(size)
