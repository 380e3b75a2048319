"""The host's hardware as the API tells it, beside what the machine itself says."""

import os
import re
import shutil
from pathlib import Path

from hutch.schema.answers.resources import Resources
from hutch.schema.base import convert
from tests.hosts import Host


def _found(host: Host) -> Resources:
    document = host.get("/1.0/resources")
    found = convert(document, Resources)
    assert set(document) == set(Resources.__struct_fields__)
    return found


def test_processors_and_memory_are_those_of_the_machine(host: Host) -> None:
    found = _found(host)

    threads = [thread for socket in found.cpu.sockets for core in socket.cores for thread in core.threads]
    assert found.cpu.total == len(threads) == os.cpu_count()
    assert {thread.id for thread in threads if thread.online} >= os.sched_getaffinity(0)
    assert found.cpu.architecture == os.uname().machine
    assert all(cache.size > 0 for socket in found.cpu.sockets for cache in socket.cache)
    meminfo = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text()))
    assert found.memory.total == int(meminfo["MemTotal"]) * 1024
    assert 0 < found.memory.used < found.memory.total
    assert sum(node.total for node in found.memory.nodes) in (0, found.memory.total)


def test_disks_and_their_partitions_are_those_of_the_machine(host: Host) -> None:
    found = {disk.id: disk for disk in _found(host).storage.disks}

    for folder in Path("/sys/class/block").iterdir():
        size = int((folder / "size").read_text()) * 512
        if (folder / "partition").exists():
            parent = found[folder.resolve().parent.name]
            assert {part.id: part.size for part in parent.partitions}[folder.name] == size
        elif (folder / "device").exists():
            assert (found[folder.name].size, found[folder.name].device) == (size, (folder / "dev").read_text().strip())


def test_devices_on_pci_are_those_of_the_machine_and_cards_are_among_them(host: Host) -> None:
    found = _found(host)

    here = {each.name: each for each in Path("/sys/bus/pci/devices").glob("*")}
    assert {device.pci_address for device in found.pci.devices} == set(here)
    for device in found.pci.devices:
        assert f"0x{device.vendor_id}" == (here[device.pci_address] / "vendor").read_text().strip()
    for card in (*found.network.cards, *found.gpu.cards):
        assert card.pci_address in (*here, "")
    assert found.system.type in ("physical", "virtual-machine", "container")


def test_clients_show_it(host: Host) -> None:
    shown = host.hutch("info", "--resources").stdout
    assert re.search(r"^CPU \(\w+\):\n  Socket 0:", shown, re.MULTILINE)
    assert "\nMemory:\n" in shown
    if shutil.which("lxc"):
        assert "CPU (" in host.lxc("info", "--resources").stdout
