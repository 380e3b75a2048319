"""What the host is made of, as GET /1.0/resources shows it: LXD's document, read from /proc and /sys."""

from typing import Any

from hutch.kernel.interfaces import Interface
from hutch.service.resources import cpu, gpu, memory, network, pci, storage, system, usb


def document(interfaces: list[Interface]) -> dict[str, Any]:
    """All of it; blocks, call it in a thread. `interfaces` are those of the daemon's network namespace, where /sys may show
    another's."""
    return {
        "cpu": cpu.found(),
        "memory": memory.found(),
        "gpu": gpu.found(),
        "network": network.found(interfaces),
        "storage": storage.found(),
        "usb": usb.found(),
        "pci": pci.found(),
        "system": system.found(),
    }
