"""What the host is made of, as GET /1.0/resources shows it. Read from /proc and /sys; blocks, call it in a thread."""

import contextlib
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from hutch.kernel.interfaces import Interface

_CPUS = Path("/sys/devices/system/cpu")
_SECTOR = 512


def document(interfaces: list[Interface]) -> dict[str, Any]:
    """All of it. `interfaces` are those of the daemon's network namespace, where /sys may show another's."""
    return {
        "cpu": _cpu(),
        "memory": _memory(),
        "gpu": {"cards": _cards(), "total": len(_cards())},
        "network": _network(interfaces),
        "storage": _storage(),
        "usb": _usb(),
        "pci": _pci(),
        "system": _system(),
    }


def _text(path: Path, default: str = "") -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return default


def _number(path: Path, default: int = 0) -> int:
    text = _text(path)
    return int(text) if re.fullmatch(r"-?\d+", text) else default


def _cpu() -> dict[str, Any]:
    names = _cpu_names()
    sockets: dict[int, dict[tuple[int, int], list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    folders = sorted(_CPUS.glob("cpu[0-9]*"), key=lambda path: int(path.name[3:]))
    isolated = _members(_text(_CPUS / "isolated"))
    for folder in folders:
        number, topology = int(folder.name[3:]), folder / "topology"
        core = (_number(topology / "die_id"), _number(topology / "core_id"))
        threads = sockets[max(0, _number(topology / "physical_package_id"))][core]
        threads.append(
            {
                "id": number,
                "numa_node": next((int(node.name[4:]) for node in folder.glob("node[0-9]*")), 0),
                "thread": len(threads),
                "online": _text(folder / "online", "1") == "1",
                "isolated": number in isolated,
            }
        )
    shown = []
    for socket, cores in sorted(sockets.items()):
        first = next(iter(cores.values()))[0]["id"]
        vendor, model, frequency = names.get(first, ("", "", 0))
        shown.append(
            {
                "name": model,
                "vendor": vendor,
                "socket": socket,
                "cache": _caches(_CPUS / f"cpu{first}" / "cache"),
                "cores": [
                    {"core": core, "die": max(0, die), "threads": threads, "frequency": frequency}
                    for (die, core), threads in sorted(cores.items())
                ],
                "frequency": frequency,
                "frequency_minimum": _number(_CPUS / f"cpu{first}/cpufreq/cpuinfo_min_freq") // 1000,
                "frequency_turbo": _number(_CPUS / f"cpu{first}/cpufreq/cpuinfo_max_freq") // 1000,
            }
        )
    return {"architecture": os.uname().machine, "sockets": shown, "total": len(folders)}


def _cpu_names() -> dict[int, tuple[str, str, int]]:
    """Vendor, model and MHz by number, as /proc/cpuinfo tells them."""
    found = {}
    for block in _text(Path("/proc/cpuinfo")).split("\n\n"):
        words = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        if words.get("processor", "").isdigit():
            frequency = int(float(words.get("cpu MHz", "0") or 0))
            found[int(words["processor"])] = (words.get("vendor_id", ""), words.get("model name", ""), frequency)
    return found


def _members(text: str) -> set[int]:
    """`0-3,5` as numbers."""
    found: set[int] = set()
    for word in filter(None, text.split(",")):
        first, _, last = word.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _caches(folder: Path) -> list[dict[str, Any]]:
    found = []
    for index in sorted(folder.glob("index[0-9]*")):
        size = re.fullmatch(r"(\d+)K", _text(index / "size"))
        found.append(
            {
                "level": _number(index / "level"),
                "type": _text(index / "type"),
                "size": int(size[1]) * 1024 if size else 0,
            }
        )
    return found


def _meminfo(path: Path) -> dict[str, int]:
    """The values of a meminfo file, in bytes where it gives kB."""
    found = {}
    for line in _text(path).splitlines():
        match = re.match(r"(?:Node \d+ )?([\w()]+):\s+(\d+)( kB)?", line)
        if match:
            found[match[1]] = int(match[2]) * (1024 if match[3] else 1)
    return found


def _memory() -> dict[str, Any]:
    whole = _meminfo(Path("/proc/meminfo"))
    nodes = []
    for folder in sorted(Path("/sys/devices/system/node").glob("node[0-9]*")):
        part = _meminfo(folder / "meminfo")
        nodes.append(
            {
                "numa_node": int(folder.name[4:]),
                "hugepages_used": (part.get("HugePages_Total", 0) - part.get("HugePages_Free", 0))
                * whole.get("Hugepagesize", 0),
                "hugepages_total": part.get("HugePages_Total", 0) * whole.get("Hugepagesize", 0),
                "used": part.get("MemUsed", 0),
                "total": part.get("MemTotal", 0),
            }
        )
    huge = whole.get("Hugepagesize", 0)
    return {
        "nodes": nodes,
        "hugepages_total": whole.get("HugePages_Total", 0) * huge,
        "hugepages_used": (whole.get("HugePages_Total", 0) - whole.get("HugePages_Free", 0)) * huge,
        "hugepages_size": huge,
        "used": whole.get("MemTotal", 0) - whole.get("MemAvailable", 0),
        "total": whole.get("MemTotal", 0),
    }


def _device(folder: Path) -> dict[str, Any]:
    """What every PCI device tells of itself."""
    address = folder.resolve().name
    driver = (folder / "driver").resolve().name if (folder / "driver").exists() else ""
    return {
        "driver": driver,
        "driver_version": _text(Path("/sys/module", driver, "version")) or (os.uname().release if driver else ""),
        "numa_node": max(0, _number(folder / "numa_node")),
        "pci_address": address if re.fullmatch(r"[0-9a-f]{4,}:.*", address) else "",
        "vendor": "",
        "vendor_id": _text(folder / "vendor").removeprefix("0x"),
        "product": "",
        "product_id": _text(folder / "device").removeprefix("0x"),
    }


def _cards() -> list[dict[str, Any]]:
    found = []
    for folder in sorted(Path("/sys/class/drm").glob("card[0-9]*")):
        if re.fullmatch(r"card\d+", folder.name) and (folder / "device").exists():
            drm = {"id": int(folder.name[4:]), "card_name": folder.name, "card_device": _text(folder / "dev")}
            found.append(_device(folder / "device") | {"drm": drm})
    return found


def _network(interfaces: list[Interface]) -> dict[str, Any]:
    cards = []
    for interface in interfaces:
        device = Path("/sys/class/net", interface.name, "device")
        if not device.exists():
            continue
        folder = device.parent
        port = {
            "id": interface.name,
            "address": interface.hwaddr,
            "port": _number(folder / "dev_port"),
            "protocol": "ethernet",
            "link_detected": _text(folder / "carrier") == "1",
            "link_speed": max(0, _number(folder / "speed")),
            "link_duplex": _text(folder / "duplex"),
            "auto_negotiation": False,
        }
        cards.append(_device(device) | {"ports": [port], "firmware_version": ""})
    return {"cards": cards, "total": len(cards)}


def _storage() -> dict[str, Any]:
    disks = []
    for folder in sorted(Path("/sys/class/block").iterdir()):
        if (folder / "partition").exists() or re.match(r"(loop|ram|zram|dm-|md)", folder.name):
            continue
        disks.append(_disk(folder))
    return {"disks": disks, "total": len(disks)}


def _disk(folder: Path) -> dict[str, Any]:
    partitions = [
        {
            "id": part.name,
            "device": _text(part / "dev"),
            "read_only": _text(part / "ro") == "1",
            "size": _number(part / "size") * _SECTOR,
            "partition": _number(part / "partition"),
        }
        for part in sorted(folder.resolve().glob(f"{folder.name}*"))
        if (part / "partition").exists()
    ]
    return {
        "id": folder.name,
        "device": _text(folder / "dev"),
        "model": _text(folder / "device/model"),
        "type": "virtio" if folder.name.startswith("vd") else "nvme" if folder.name.startswith("nvme") else "scsi",
        "read_only": _text(folder / "ro") == "1",
        "size": _number(folder / "size") * _SECTOR,
        "removable": _text(folder / "removable") == "1",
        "numa_node": max(0, _number(folder / "device/numa_node")),
        "block_size": _number(folder / "queue/physical_block_size"),
        "rpm": 1 if _text(folder / "queue/rotational") == "1" else 0,
        "serial": _text(folder / "serial"),
        "partitions": partitions,
    }


def _usb() -> dict[str, Any]:
    devices = []
    for folder in sorted(Path("/sys/bus/usb/devices").glob("*")):
        if not (folder / "idVendor").exists() or _text(folder / "bDeviceClass") == "09":
            continue
        devices.append(
            {
                "bus_address": _number(folder / "busnum"),
                "device_address": _number(folder / "devnum"),
                "interfaces": [],
                "vendor": _text(folder / "manufacturer"),
                "vendor_id": _text(folder / "idVendor"),
                "product": _text(folder / "product"),
                "product_id": _text(folder / "idProduct"),
                "speed": float(_text(folder / "speed", "0") or 0),
            }
        )
    return {"devices": devices, "total": len(devices)}


def _pci() -> dict[str, Any]:
    folders = sorted(Path("/sys/bus/pci/devices").glob("*"))
    devices = [_device(folder) | {"iommu_group": 0, "vpd": {"product_name": "", "entries": {}}} for folder in folders]
    return {"devices": devices, "total": len(devices)}


def _system() -> dict[str, Any]:
    dmi = Path("/sys/class/dmi/id")
    return {
        "uuid": _text(dmi / "product_uuid"),
        "vendor": _text(dmi / "sys_vendor"),
        "product": _text(dmi / "product_name"),
        "family": _text(dmi / "product_family"),
        "version": _text(dmi / "product_version"),
        "sku": _text(dmi / "product_sku"),
        "serial": _text(dmi / "product_serial"),
        "type": "virtual-machine" if "hypervisor" in _text(Path("/proc/cpuinfo")) else "physical",
        "firmware": {
            "vendor": _text(dmi / "bios_vendor"),
            "date": _text(dmi / "bios_date"),
            "version": _text(dmi / "bios_version"),
        },
        "chassis": {
            "vendor": _text(dmi / "chassis_vendor"),
            "type": _text(dmi / "chassis_type"),
            "serial": _text(dmi / "chassis_serial"),
            "version": _text(dmi / "chassis_version"),
        },
        "motherboard": {
            "vendor": _text(dmi / "board_vendor"),
            "product": _text(dmi / "board_name"),
            "serial": _text(dmi / "board_serial"),
            "version": _text(dmi / "board_version"),
        },
    }
