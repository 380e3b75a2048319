"""Disks and their partitions."""

import re
from pathlib import Path
from typing import Any

from hutch.service.resources import pci
from hutch.service.resources.read import number, text

_SECTOR = 512
_BY_PATH, _BY_ID = Path("/dev/disk/by-path"), Path("/dev/disk/by-id")


def found() -> dict[str, Any]:
    disks = [
        _disk(folder)
        for folder in sorted(Path("/sys/class/block").iterdir())
        if not (folder / "partition").exists() and not re.match(r"(loop|ram|zram|dm-|md)", folder.name)
    ]
    return {"disks": disks, "total": len(disks)}


def _disk(folder: Path) -> dict[str, Any]:
    partitions = [
        {
            "id": part.name,
            "device": text(part / "dev"),
            "read_only": text(part / "ro") == "1",
            "size": number(part / "size") * _SECTOR,
            "partition": number(part / "partition"),
        }
        for part in sorted(folder.resolve().glob(f"{folder.name}*"))
        if (part / "partition").exists()
    ]
    device = folder / "device"
    return {
        "id": folder.name,
        "device": text(folder / "dev"),
        "model": text(device / "model"),
        "type": _type(folder),
        "read_only": text(folder / "ro") == "1",
        "size": number(folder / "size") * _SECTOR,
        "removable": text(folder / "removable") == "1",
        "wwn": text(folder / "wwid") or text(device / "wwid"),
        "numa_node": max(0, number(device / "numa_node", number(device / "device/numa_node"))),
        "device_path": _link(_BY_PATH, folder.name),
        "device_id": _link(_BY_ID, folder.name),
        "block_size": number(folder / "queue/physical_block_size"),
        "firmware_version": text(device / "firmware_rev") or text(device / "rev"),
        # the kernel tells only whether it turns: LXD answers 1 as well
        "rpm": number(folder / "queue/rotational"),
        "serial": text(folder / "serial") or text(device / "serial"),
        "partitions": partitions,
    } | pci.addresses(folder)


def _type(folder: Path) -> str:
    for prefix, name in (("nvme", "nvme"), ("vd", "virtio"), ("mmcblk", "mmc"), ("sr", "cdrom")):
        if folder.name.startswith(prefix):
            return name
    return "usb" if pci.addresses(folder)["usb_address"] else "scsi" if folder.name.startswith("sd") else ""


def _link(links: Path, name: str) -> str:
    """The first name that udev gave the disk in a folder of links."""
    every = sorted(links.iterdir()) if links.is_dir() else []
    return next((each.name for each in every if each.resolve().name == name), "")
