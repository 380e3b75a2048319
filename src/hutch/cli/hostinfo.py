"""What `hutch info --resources` shows of the server's hardware, in the order and words of LXD's client."""

from collections.abc import Iterator

from hutch.cli.progress import binary_amount
from hutch.cli.table import clean
from hutch.client.connection import Document


def text(found: Document) -> str:
    return "\n".join(
        line for part in (_system, _cpu, _memory, _gpu, _network, _disks, _usb, _pci) for line in part(found)
    )


def _rows(depth: int, rows: dict[str, object]) -> Iterator[str]:
    yield from (f"{'  ' * depth}{name}: {clean(str(value))}" for name, value in rows.items() if value not in ("", None))


def _system(found: Document) -> Iterator[str]:
    system = found["system"]
    yield "System:"
    yield from _rows(1, {"UUID": system["uuid"], "Vendor": system["vendor"], "Product": system["product"]})
    yield from _rows(1, {"Version": system["version"], "Serial": system["serial"], "Type": system["type"]})
    for name in ("chassis", "motherboard", "firmware"):
        if any(system[name].values()):
            yield f"  {name.capitalize()}:"
            yield from _rows(2, {key.capitalize(): value for key, value in system[name].items()})


def _cpu(found: Document) -> Iterator[str]:
    yield f"\nCPU ({found['cpu']['architecture']}):"
    for socket in found["cpu"]["sockets"]:
        yield f"  Socket {socket['socket']}:"
        yield from _rows(2, {"Vendor": socket["vendor"], "Name": socket["name"]})
        yield "    Caches:"
        yield from (
            f"      - Level {cache['level']} (type: {cache['type']}): {binary_amount(cache['size'])}"
            for cache in socket["cache"]
        )
        yield "    Cores:"
        for core in socket["cores"]:
            yield f"      - Core {core['core']}"
            yield from _rows(4, {"Frequency": f"{core['frequency']}Mhz"} if core["frequency"] else {})
            yield from (
                f"        - Thread {thread['thread']} (id: {thread['id']}, online: {str(thread['online']).lower()}, "
                f"NUMA node: {thread['numa_node']})"
                for thread in core["threads"]
            )


def _memory(found: Document) -> Iterator[str]:
    memory = found["memory"]
    yield "\nMemory:"
    if memory["hugepages_total"]:
        yield f"  Hugepages: {binary_amount(memory['hugepages_used'])} of {binary_amount(memory['hugepages_total'])}"
    for node in memory["nodes"] if len(memory["nodes"]) > 1 else ():
        yield f"  NUMA node {node['numa_node']}: {binary_amount(node['used'])} of {binary_amount(node['total'])}"
    yield f"  Free: {binary_amount(memory['total'] - memory['used'])}"
    yield f"  Used: {binary_amount(memory['used'])}"
    yield f"  Total: {binary_amount(memory['total'])}"


def _device(device: Document) -> dict[str, object]:
    return {
        "NUMA node": device["numa_node"],
        "Vendor": _named(device, "vendor"),
        "Product": _named(device, "product"),
        "PCI address": device.get("pci_address", ""),
        "USB address": device.get("usb_address", ""),
        "Driver": f"{device['driver']} ({device['driver_version']})" if device["driver"] else "",
    }


def _named(device: Document, what: str) -> str:
    name, number = device[what], device[f"{what}_id"]
    return f"{name} ({number})" if name and number else str(name or number)


def _gpu(found: Document) -> Iterator[str]:
    for card in found["gpu"]["cards"]:
        yield f"\nGPU {card['drm']['card_name']}:"
        yield from _rows(1, _device(card))


def _network(found: Document) -> Iterator[str]:
    for card in found["network"]["cards"]:
        yield "\nNIC:"
        yield from _rows(1, _device(card))
        for port in card["ports"]:
            yield f"  Port {port['port']} ({port['protocol']}):"
            detected = "yes" if port["link_detected"] else "no"
            yield from _rows(2, {"ID": port["id"], "Address": port["address"], "Link detected": detected})
            if port["link_speed"]:
                yield f"    Link speed: {port['link_speed']}Mbit/s ({port['link_duplex']} duplex)"


def _disks(found: Document) -> Iterator[str]:
    for disk in found["storage"]["disks"]:
        yield f"\nDisk {disk['id']}:"
        yield from _rows(1, {"Model": disk["model"], "Type": disk["type"], "Size": binary_amount(disk["size"])})
        yield from _rows(1, {"Device": disk["device"], "ID": disk["device_id"], "PCI address": disk["pci_address"]})
        if disk["partitions"]:
            yield "  Partitions:"
        for part in disk["partitions"]:
            yield f"    - {part['id']} ({binary_amount(part['size'])}{', read-only' if part['read_only'] else ''})"


def _usb(found: Document) -> Iterator[str]:
    for device in found["usb"]["devices"]:
        yield f"\nUSB device {device['bus_address']}:{device['device_address']}:"
        yield from _rows(1, {"Vendor": _named(device, "vendor"), "Product": _named(device, "product")})


def _pci(found: Document) -> Iterator[str]:
    for device in found["pci"]["devices"]:
        yield f"\nPCI device {device['pci_address']}:"
        yield from _rows(1, {name: value for name, value in _device(device).items() if name != "PCI address"})
