"""What an instance must be like before anything is made of it."""

import re

from hutch.device import load
from hutch.errors import AlreadyExists, Conflict, Invalid
from hutch.schema.base import Config, Devices
from hutch.schema.keys import instance as keys
from hutch.schema.move import ARRIVED, FAILED, RUNNING
from hutch.service import allow
from hutch.service.instances import expand, surroundings, volume
from hutch.service.parts import Parts

ARCHITECTURES = ("x86_64", "aarch64", "i686", "armv7l", "riscv64", "ppc64le", "s390x")


def check_name(name: str, what: str = "instance") -> None:
    """A DNS label that begins with a letter: 1 to 63 letters, digits and inner hyphens."""
    if not name:
        raise Invalid(f"Invalid {what} name: it is empty")
    if len(name) > 63:
        raise Invalid(f"Invalid {what} name {name!r}: it is longer than 63 characters")
    if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?", name):
        raise Invalid(
            f"Invalid {what} name {name!r}: only letters, digits and hyphens are allowed, "
            "beginning with a letter and not ending with a hyphen"
        )


def check_snapshot_name(name: str) -> None:
    if not name or "/" in name or name.startswith(".") or any(ord(letter) < 33 or letter in '\\"' for letter in name):
        raise Invalid(f"Invalid snapshot name {name!r}: slashes, spaces and a leading dot are not allowed")
    if len(name) > 255 - 64:
        raise Invalid(f"Invalid snapshot name {name!r}: it is too long")


def check_free(parts: Parts, project: str, name: str) -> None:
    if parts.state.instances.find(project, name) is not None:
        raise AlreadyExists(f"Instance {name!r} already exists")


def check_here(parts: Parts, project: str, name: str) -> None:
    """Conflict when the instance is between two hosts, or runs on another one."""
    note = parts.state.moves.find(project, name)
    if note is not None and note.phase == ARRIVED:
        raise Conflict(f"The instance {name!r} was moved to another server and runs there: delete it here")
    if note is not None and note.phase not in (RUNNING, FAILED):
        raise Conflict(f"The instance {name!r} is being moved between two servers, which is not settled yet")


def check_no_move(parts: Parts, project: str, name: str) -> None:
    """Conflict while anything of an earlier move of the instance is not settled."""
    check_here(parts, project, name)
    if parts.state.moves.find(project, name) is not None:
        raise Conflict(
            f"The server that the instance {name!r} came from has not heard yet what became of it: try again soon"
        )


def check_settings(
    parts: Parts, project: str, name: str, profiles: list[str], config: Config, devices: Devices
) -> tuple[Config, Devices]:
    """The expanded config and devices, once every key, value, profile, pool and network in them is known to be right and the
    project allows them."""
    what = f"instance {name!r}"
    keys.check(what, config)
    whole_config, whole_devices = expand.expanded(parts.state, project, profiles, config, devices)
    check_devices(parts, project, name, whole_config, whole_devices)
    volume.pool(parts, whole_devices)
    allow.instance(parts, project, name, whole_config, whole_devices)
    return whole_config, whole_devices


def check_devices(parts: Parts, project: str, name: str, config: Config, devices: Devices) -> None:
    """Each device has a known type, valid keys, and what it refers to exists."""
    context = surroundings.context(parts, project, name, config, devices)
    for device, settings in devices.items():
        load.device(device, settings, context).check()
