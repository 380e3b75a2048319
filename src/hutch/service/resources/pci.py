"""Devices on the PCI bus, and what cards of every kind tell of the bus they are on."""

import os
import re
from pathlib import Path
from typing import Any

from hutch.service.resources.read import names, number, text

_PCI = r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"


def found() -> dict[str, Any]:
    folders = sorted(Path("/sys/bus/pci/devices").glob("*"))
    devices = [
        identity(folder)
        | {"iommu_group": _group(folder), "vpd": {"product_name": "", "entries": {}}, "pci_address": folder.name}
        for folder in folders
    ]
    return {"devices": devices, "total": len(devices)}


def _group(folder: Path) -> int:
    link = folder / "iommu_group"
    return int(link.resolve().name) if link.exists() and link.resolve().name.isdigit() else 0


def identity(folder: Path) -> dict[str, Any]:
    """Driver, vendor and product of the device at a folder of /sys."""
    driver = (folder / "driver").resolve().name if (folder / "driver").exists() else ""
    vendor_id, product_id = (text(folder / name).removeprefix("0x") for name in ("vendor", "device"))
    vendor, product = names("pci", vendor_id, product_id)
    return {
        "driver": driver,
        "driver_version": text(Path("/sys/module", driver, "version")) or (os.uname().release if driver else ""),
        "numa_node": max(0, number(folder / "numa_node")),
        "vendor": vendor,
        "vendor_id": vendor_id,
        "product": product,
        "product_id": product_id,
    }


def addresses(folder: Path) -> dict[str, str]:
    """Where on PCI and USB the device is that lies behind a folder of /sys: `0000:00:1f.2`, `1:4`."""
    path = folder.resolve()
    on_pci = [each.name for each in (path, *path.parents) if re.fullmatch(_PCI, each.name)]
    on_usb = [each for each in (path, *path.parents) if (each / "busnum").exists()]
    usb = f"{number(on_usb[0] / 'busnum')}:{number(on_usb[0] / 'devnum')}" if on_usb else ""
    return {"pci_address": on_pci[0] if on_pci and not usb else "", "usb_address": usb}


def card(folder: Path) -> dict[str, Any]:
    """What graphics and network cards have in common, with their virtual functions. Of a virtio card, what it is lies with
    the PCI device that carries it."""
    where, own = addresses(folder), identity(folder)
    carrier = Path("/sys/bus/pci/devices", where["pci_address"]) if where["pci_address"] else folder
    drivers = {name: own[name] for name in ("driver", "driver_version")}
    return identity(carrier) | drivers | where | {"sriov": _functions(carrier)}


def _functions(folder: Path) -> dict[str, Any] | None:
    if not (folder / "sriov_totalvfs").exists():
        return None
    return {
        "current_vfs": number(folder / "sriov_numvfs"),
        "maximum_vfs": number(folder / "sriov_totalvfs"),
        "vfs": [identity(each) | addresses(each) for each in sorted(folder.glob("virtfn[0-9]*"))],
    }
