"""The machine itself, as its firmware describes it."""

import contextlib
from pathlib import Path
from typing import Any

from hutch.service.resources.read import text


def found() -> dict[str, Any]:
    dmi = Path("/sys/class/dmi/id")
    return {
        "uuid": text(dmi / "product_uuid"),
        "vendor": text(dmi / "sys_vendor"),
        "product": text(dmi / "product_name"),
        "family": text(dmi / "product_family"),
        "version": text(dmi / "product_version"),
        "sku": text(dmi / "product_sku"),
        "serial": text(dmi / "product_serial"),
        "type": _type(),
        "firmware": {
            "vendor": text(dmi / "bios_vendor"),
            "date": text(dmi / "bios_date"),
            "version": text(dmi / "bios_version"),
        },
        "chassis": {
            "vendor": text(dmi / "chassis_vendor"),
            "type": text(dmi / "chassis_type"),
            "serial": text(dmi / "chassis_serial"),
            "version": text(dmi / "chassis_version"),
        },
        "motherboard": {
            "vendor": text(dmi / "board_vendor"),
            "product": text(dmi / "board_name"),
            "serial": text(dmi / "board_serial"),
            "version": text(dmi / "board_version"),
        },
    }


def _type() -> str:
    if b"container=" in _environment():
        return "container"
    return "virtual-machine" if "hypervisor" in text(Path("/proc/cpuinfo")) else "physical"


def _environment() -> bytes:
    """What the first process was started with, which a container's manager marks."""
    with contextlib.suppress(OSError):
        return Path("/proc/1/environ").read_bytes()
    return b""
