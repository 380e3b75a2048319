"""Devices on USB, without the hubs."""

from pathlib import Path
from typing import Any

from hutch.service.resources.pci import identity
from hutch.service.resources.read import names, number, text

_DEVICES = Path("/sys/bus/usb/devices")
_CLASSES = {
    "01": "Audio", "02": "Communications", "03": "Human Interface Device", "05": "Physical Interface Device",
    "06": "Imaging", "07": "Printer", "08": "Mass Storage", "09": "Hub", "0a": "CDC Data", "0b": "Chip/SmartCard",
    "0d": "Content Security", "0e": "Video", "dc": "Diagnostic", "e0": "Wireless", "ef": "Miscellaneous Device",
    "fe": "Application Specific Interface", "ff": "Vendor Specific Class",
}  # fmt: skip


def found() -> dict[str, Any]:
    folders = [
        folder
        for folder in sorted(_DEVICES.glob("*"))
        if (folder / "idVendor").exists() and text(folder / "bDeviceClass") != "09"
    ]
    return {"devices": [_device(folder) for folder in folders], "total": len(folders)}


def _device(folder: Path) -> dict[str, Any]:
    vendor_id, product_id = text(folder / "idVendor"), text(folder / "idProduct")
    vendor, product = names("usb", vendor_id, product_id)
    return {
        "bus_address": number(folder / "busnum"),
        "device_address": number(folder / "devnum"),
        "interfaces": [_interface(each) for each in sorted(folder.glob(f"{folder.name}:*"))],
        "vendor": text(folder / "manufacturer") or vendor,
        "vendor_id": vendor_id,
        "product": text(folder / "product") or product,
        "product_id": product_id,
        "speed": float(text(folder / "speed", "0") or 0),
    }


def _interface(folder: Path) -> dict[str, Any]:
    kind, below = text(folder / "bInterfaceClass"), text(folder / "bInterfaceSubClass")
    driver = identity(folder)
    return {
        "class": _CLASSES.get(kind, ""),
        "class_id": int(kind or "0", 16),
        "subclass": "",
        "subclass_id": int(below or "0", 16),
        "driver": driver["driver"],
        "driver_version": driver["driver_version"],
        "number": int(text(folder / "bInterfaceNumber") or "0", 16),
    }
