"""What an instance or a profile of a restricted project may not have: the keys restricted.* against its config and devices.

Nothing is looked up here. A profile is held to the same rules as the instances that use it.
"""

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from hutch.errors import Forbidden, Invalid
from hutch.schema.base import Config, Devices
from hutch.schema.keys.base import as_bool
from hutch.schema.keys.project import is_restricted, paths, ranges, restriction, words
from hutch.schema.project import ProjectRecord

_LOW_LEVEL = {
    "boot.host_shutdown_timeout",
    "limits.memory.swap",
    "linux.kernel_modules",
    "linux.kernel_modules.load",
    "security.devlxd.images",
    "security.idmap.base",
    "security.idmap.size",
}
_LOW_LEVEL_PREFIXES = ("raw.", "limits.kernel.", "linux.sysctl.", "security.syscalls.")
_INTERCEPTION = "security.syscalls.intercept."
_GATED = ("gpu", "infiniband", "pci", "proxy", "unix-block", "unix-char", "unix-hotplug", "usb")
_KINDS = {"unix-block": "Unix block", "unix-char": "Unix character", "unix-hotplug": "Unix hotplug"}
_OWN_VOLATILE = ("volatile.base_image", "volatile.uuid", "volatile.apply_template", "volatile.last_state.")
_GUESTS = (".hwaddr", ".name")
"""Volatile keys that name nothing of the host: clients send them along with copies."""


def check(project: ProjectRecord, what: str, config: Config, devices: Devices) -> None:
    """Forbidden when the project is restricted and `what` (`instance 'c1'`) has something that it must not have."""
    if not is_restricted(project.config):
        return
    where = f"on {what} of project {project.name!r}"
    for key, value in config.items():
        _check_key(project.config, key, value, where)
    isolated = as_bool(config.get("security.idmap.isolated")) or not what.startswith("instance")
    if restriction(project.config, "containers.privilege") == "isolated" and not isolated:
        raise Forbidden(
            f'Invalid value "" for config "security.idmap.isolated" {where}: Non-isolated containers are forbidden'
        )
    for name, device in devices.items():
        try:
            _check_device(project.config, device)
        except Forbidden as error:
            raise Forbidden(f"Invalid device {name!r} {where}: {error}") from error


def own_config(project: ProjectRecord, config: Config) -> Config:
    """The config without those volatile keys by which links and ids of the host are found, where low-level keys are
    not for users: on what a user sends for a new instance they would name somebody else's."""
    if not is_restricted(project.config) or restriction(project.config, "containers.lowlevel") == "allow":
        return config
    return {key: value for key, value in config.items() if not _is_hosts(key)}


def check_volatile(project: ProjectRecord, name: str, old: Config, new: Config) -> None:
    """Forbidden when a volatile key that is not for users changes; those that the server wrote may be sent back."""
    for key in new.keys() - own_config(project, new).keys():
        if new[key] != old.get(key, ""):
            raise Forbidden(
                f"Use of low-level config {key!r} on instance {name!r} of project {project.name!r} is forbidden"
            )


def _is_hosts(key: str) -> bool:
    return key.startswith("volatile.") and not key.startswith(_OWN_VOLATILE) and not key.endswith(_GUESTS)


def _check_key(rules: Config, key: str, value: str, where: str) -> None:
    if key.startswith(_INTERCEPTION):
        _check_interception(rules, key, value, where)
    elif key == "raw.idmap" and restriction(rules, "containers.lowlevel") == "block":
        _check_idmap(rules, value, where)
    elif key in _LOW_LEVEL or key.startswith(_LOW_LEVEL_PREFIXES):
        if restriction(rules, "containers.lowlevel") == "block":
            raise Forbidden(f"Use of low-level config {key!r} {where} is forbidden")
    elif key == "security.nesting" and as_bool(value) and restriction(rules, "containers.nesting") == "block":
        raise _wrong(key, value, where, "Container nesting is forbidden")
    elif key == "security.privileged" and as_bool(value) and restriction(rules, "containers.privilege") != "allow":
        raise _wrong(key, value, where, "Privileged containers are forbidden")


def _wrong(key: str, value: str, where: str, reason: str) -> Forbidden:
    return Forbidden(f'Invalid value "{value}" for config "{key}" {where}: {reason}')


def _check_interception(rules: Config, key: str, value: str, where: str) -> None:
    allowed = restriction(rules, "containers.interception")
    mounts = key.startswith(f"{_INTERCEPTION}mount")
    if allowed == "full" or (allowed == "allow" and not mounts) or value.lower() in ("", "false", "0", "no", "off"):
        return
    raise _wrong(key, value, where, "Container syscall interception is forbidden")


def _check_idmap(rules: Config, value: str, where: str) -> None:
    """Every host id of raw.idmap lies in restricted.idmap.uid or .gid, or both for `both`."""
    allowed = {kind: ranges(rules.get(f"restricted.idmap.{kind}", "")) for kind in ("uid", "gid")}
    for number, line in enumerate(filter(None, map(str.strip, value.splitlines()))):
        kind, _, rest = line.partition(" ")
        kinds = {"both": ("uid", "gid")}.get(kind, (kind,))
        if not all(_covered(rest.split(" ")[0], allowed.get(each, [])) for each in kinds):
            raise Forbidden(f'Use of low-level "raw.idmap" element {number} {where} is forbidden')


def _covered(text: str, allowed: Iterable[range]) -> bool:
    try:
        wanted = ranges(text)
    except Invalid:
        return False
    return bool(wanted) and all(any(one[0] in each and one[-1] in each for each in allowed) for one in wanted)


def _check_device(rules: Config, device: Config) -> None:
    kind = device.get("type", "")
    if kind in _GATED and restriction(rules, f"devices.{kind}") == "block":
        raise Forbidden(f"{_KINDS.get(kind, kind)} devices are forbidden")
    if kind in _CHECKS:
        _CHECKS[kind](rules, device)


def _check_nic(rules: Config, device: Config) -> None:
    allowed = restriction(rules, "devices.nic")
    if allowed == "block":
        raise Forbidden("Network devices are forbidden")
    if allowed == "managed" and not device.get("network"):
        raise Forbidden("Only managed network devices are allowed")
    name = device.get("network") or device.get("parent", "")
    if not network_allowed(rules, name, managed=bool(device.get("network"))):
        raise Forbidden(f"Network {name!r} not allowed in project")


def network_allowed(rules: Config, name: str, *, managed: bool = True) -> bool:
    """Whether a project with these settings lets its instances and its users near a network."""
    if not is_restricted(rules):
        return True
    allowed = restriction(rules, "devices.nic")
    if allowed == "block" or (allowed == "managed" and not managed):
        return False
    chosen = words(rules.get("restricted.networks.access", ""))
    return not chosen or name in chosen


def zone_allowed(rules: Config, zone: str) -> bool:
    """Whether a DNS zone may be used: one that restricted.networks.zones lists, or a domain below it."""
    chosen = words(rules.get("restricted.networks.zones", ""))
    return not is_restricted(rules) or any(zone == each or zone.endswith(f".{each}") for each in chosen)


def _check_disk(rules: Config, device: Config) -> None:
    if device.get("path") == "/" and not device.get("source"):
        return
    allowed = restriction(rules, "devices.disk")
    if allowed == "block":
        raise Forbidden("Disk devices are forbidden")
    if device.get("pool"):
        return
    if allowed == "managed":
        raise Forbidden("Attaching disks not backed by a pool is forbidden")
    # what the guest's root writes there would be the host's root's: a program with the setuid bit, for instance
    if as_bool(device.get("shift")) and restriction(rules, "containers.privilege") != "allow":
        raise Forbidden("Shifting the owners of a host path is forbidden")
    if not path_allowed(rules, device.get("source", "")):
        raise Forbidden(f"Disk source path {device.get('source')!r} not allowed by restricted.devices.disk.paths")


def disk_paths(rules: Config) -> list[str]:
    """The folders of the host that sources of disks must lie in; empty: anywhere."""
    if not is_restricted(rules):
        return []
    return paths(rules.get("restricted.devices.disk.paths", ""))


def path_allowed(rules: Config, source: str) -> bool:
    """Whether a host path lies, as it is written, in a folder that disks may come from. Links in it are followed only
    inside that folder, when the disk is mounted (device/drivers/disk.py)."""
    folders = disk_paths(rules)
    path = PurePosixPath(source)
    return not folders or (".." not in path.parts and any(path.is_relative_to(each) for each in folders))


_CHECKS: dict[str, Callable[[Config, Config], None]] = {
    "nic": _check_nic,
    "disk": _check_disk,
}
