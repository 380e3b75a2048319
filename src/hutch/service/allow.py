"""What a project allows: its limits and its restrictions. Every verb that makes or changes something asks here.

`async with settled(parts, project)` keeps the answer true until what was asked for is committed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hutch.access import restrictions
from hutch.access.projects import DEFAULT, Kind, tenants
from hutch.errors import Forbidden, Invalid
from hutch.schema.base import Config, Devices
from hutch.schema.image import ImageRecord
from hutch.schema.keys.base import as_bytes
from hutch.schema.keys.project import is_restricted, restriction
from hutch.schema.profile import ProfileRecord
from hutch.schema.project import ProjectRecord
from hutch.schema.storage import VolumeRecord
from hutch.service.instances import expand
from hutch.service.parts import Parts

SUMMED = {"limits.cpu": "cpu", "limits.disk": "disk", "limits.memory": "memory", "limits.processes": "processes"}
"""Limits of what all instances together may use, with the words of them in a project's state."""


Stored = VolumeRecord | ImageRecord
"""What takes space of a project beside its instances."""


@dataclass(frozen=True)
class Holding:
    """An instance as its project counts it: with the config and the devices of its profiles."""

    name: str
    config: Config
    devices: Devices
    type: str = "container"


def lock(name: str) -> str:
    """What the lock is called that keeps a project's rules and totals as they are."""
    return f"project/{name}"


@asynccontextmanager
async def settled(parts: Parts, *projects: str) -> AsyncIterator[None]:
    """Nobody else commits to the projects meanwhile, so that what is allowed here still is at the commit. This is the
    last lock that a verb takes. NotFound when a project has gone. The default project without limits, where there is
    nothing to exceed, does not wait."""
    open_ = {DEFAULT} if not _has_rules(record_of(parts, DEFAULT)) else set()
    async with parts.locks.hold(*(lock(name) for name in projects if name not in open_)):
        for name in projects:
            parts.state.projects.get(name)
        yield


def record_of(parts: Parts, project: str) -> ProjectRecord:
    return parts.state.projects.find(project) or ProjectRecord(name=project)


def _has_rules(record: ProjectRecord) -> bool:
    return is_restricted(record.config) or any(key.startswith("limits.") for key in record.config)


def holdings(parts: Parts, project: str) -> list[Holding]:
    """Every instance of the project."""
    return [Holding(each.name, *expand.of(parts.state, each), each.type) for each in parts.state.instances.all(project)]


def instance(parts: Parts, project: str, name: str, config: Config, devices: Devices) -> None:
    """Forbidden when the project cannot have this instance, new or changed, with these expanded settings."""
    record = record_of(parts, project)
    if not _has_rules(record):
        return
    wanted = Holding(name, config, devices)
    restrictions.check(record, f"instance {name!r}", config, devices)
    others = [each for each in holdings(parts, project) if each.name != name]
    _check_counts(record, others, new=parts.state.instances.find(project, name) is None)
    _check_sums(record, [*others, wanted], _stored(parts, project))


def volatile(parts: Parts, project: str, name: str, old: Config, new: Config) -> None:
    """Forbidden when a user of a restricted project writes volatile keys by which things of the host are found."""
    restrictions.check_volatile(record_of(parts, project), name, old, new)


def volume(parts: Parts, record: VolumeRecord, instead_of: VolumeRecord | None = None) -> None:
    """Forbidden when the project cannot have this custom volume: new, changed, or in the place of another that it was."""
    keys = {_key(record), _key(instead_of or record)}
    others = [each for each in _stored(parts, record.project) if _key(each) not in keys]
    _check_stored(parts, record.project, [*others, record])


def image(parts: Parts, record: ImageRecord) -> None:
    """Forbidden when the project cannot have this new image."""
    _check_stored(parts, record.project, [*_stored(parts, record.project), record])


def _check_stored(parts: Parts, project: str, stored: list[Stored]) -> None:
    record = record_of(parts, project)
    if _has_rules(record):
        _check_sums(record, holdings(parts, project), stored)


def volumes(parts: Parts, project: str) -> list[VolumeRecord]:
    """Every custom volume that is in the project."""
    return [each for each in parts.state.volumes.all() if each.project == project]


def _key(thing: Stored) -> tuple[str, ...]:
    return ("", thing.fingerprint) if isinstance(thing, ImageRecord) else (thing.pool, thing.project, thing.name)


def _stored(parts: Parts, project: str) -> list[Stored]:
    return [*volumes(parts, project), *parts.state.images.all(project)]


def own_config(parts: Parts, project: str, config: Config) -> Config:
    """What of the config that a user sends for a new instance may be taken: see `restrictions.own_config`."""
    return restrictions.own_config(record_of(parts, project), config)


def profile(parts: Parts, new: ProfileRecord) -> None:
    """Forbidden when a project that sees the profile, new or changed, cannot have it or an instance that uses it."""
    restrictions.check(record_of(parts, new.project), f"profile {new.name!r}", new.config, new.devices)
    known = {each.name: each for each in parts.state.profiles.all(new.project)} | {new.name: new}
    for name in tenants(parts.state, new.project, Kind.PROFILES):
        record = record_of(parts, name)
        if not _has_rules(record):
            continue
        found = []
        for each in parts.state.instances.all(name):
            whole = expand.over([known[one] for one in each.profiles], each.config, each.devices)
            found.append(Holding(each.name, *whole, each.type))
            if new.name in each.profiles:
                restrictions.check(record, f"instance {each.name!r}", found[-1].config, found[-1].devices)
        if any(new.name in each.profiles for each in parts.state.instances.all(name)):
            _check_sums(record, found, _stored(parts, name))


def project(parts: Parts, new: ProjectRecord) -> None:
    """Forbidden when what is in the project breaks the rules that it is to have."""
    found = holdings(parts, new.name)
    for each in found:
        restrictions.check(new, f"instance {each.name!r}", each.config, each.devices)
    for one in parts.state.profiles.all(new.name):
        restrictions.check(new, f"profile {one.name!r}", one.config, one.devices)
    for key, count in _counts(found).items():
        if (most := new.config.get(key)) and count > int(most):
            raise Forbidden(f'"{key}" is too low: there currently are {count} instances in project {new.name!r}')
    networks = len(parts.state.networks.all(new.name))
    if (most := new.config.get("limits.networks")) and networks > int(most):
        raise Forbidden(
            f'"limits.networks" is too low: there currently are {networks} networks in project {new.name!r}'
        )
    _check_sums(
        new, found, _stored(parts, new.name), "{key!r} is too low: current total in project {project!r} is {total}"
    )


def network(parts: Parts, project: str) -> None:
    """Forbidden when the project, in which a network is to be made, may have no more."""
    most = record_of(parts, project).config.get("limits.networks")
    if most and len(parts.state.networks.all(project)) >= int(most):
        raise Forbidden(f"Networks limit of {most} in project {project!r} has been reached")


def sees_network(parts: Parts, project: str, name: str, *, managed: bool) -> bool:
    """Whether the project may use the network, and so know of it."""
    return restrictions.network_allowed(record_of(parts, project).config, name, managed=managed)


def snapshot(parts: Parts, project: str) -> None:
    """Forbidden when the project lets nobody make snapshots."""
    _gate(parts, project, "snapshots", "create snapshots")


def snapshots(parts: Parts, project: str) -> bool:
    """Whether snapshots that are due may be made in the project."""
    return _is_open(parts, project, "snapshots")


def backup(parts: Parts, project: str) -> None:
    """Forbidden when the project lets nobody make backups."""
    _gate(parts, project, "backups", "create backups")


def target(parts: Parts, project: str) -> None:
    """Forbidden when the project lets nobody choose the cluster member that something is made on."""
    _gate(parts, project, "cluster.target", "target cluster members")


def _gate(parts: Parts, project: str, key: str, what: str) -> None:
    if not _is_open(parts, project, key):
        raise Forbidden(f"Project {project!r} doesn't allow to {what}")


def _is_open(parts: Parts, project: str, key: str) -> bool:
    rules = record_of(parts, project).config
    return not is_restricted(rules) or restriction(rules, key) == "allow"


def _counts(found: list[Holding]) -> dict[str, int]:
    machines = sum(each.type == "virtual-machine" for each in found)
    return {
        "limits.instances": len(found),
        "limits.containers": len(found) - machines,
        "limits.virtual-machines": machines,
    }


def _check_counts(record: ProjectRecord, others: list[Holding], *, new: bool) -> None:
    if not new:
        return
    counts = _counts(others)
    if (most := record.config.get("limits.instances")) and counts["limits.instances"] >= int(most):
        raise Forbidden(f"Reached maximum number of instances in project {record.name!r}")
    if (most := record.config.get("limits.containers")) and counts["limits.containers"] >= int(most):
        raise Forbidden(f'Reached maximum number of instances of type "container" in project {record.name!r}')


_EXCEEDED = "Reached maximum aggregate value {most!r} for {key!r} in project {project!r}"


def _check_sums(record: ProjectRecord, found: list[Holding], stored: list[Stored], sentence: str = _EXCEEDED) -> None:
    for key in SUMMED:
        if not (most := record.config.get(key)):
            continue
        total = sum(_share(record.name, each, key) for each in found)
        if key == "limits.disk":
            total += sum(map(_size, stored))
        if total > as_bytes(most):
            raise Forbidden(sentence.format(most=most, key=key, project=record.name, total=total))


def _share(project: str, holding: Holding, key: str) -> int:
    """What an instance takes of a sum. Forbidden when it does not say how much it will take at most."""
    value = _value(holding, key)
    where = f"Instance {holding.name!r} in project {project!r}"
    if not value:
        named = '"size" config set on the root device' if key == "limits.disk" else f'"{key}" config set'
        raise Forbidden(f"{where} has no {named}, either directly or via a profile")
    try:
        return as_bytes(value)
    except Invalid:
        raise Forbidden(
            f"{where} has {key}={value}: while the project limits it, only a plain number is allowed"
        ) from None


def _size(thing: Stored) -> int:
    if isinstance(thing, ImageRecord):
        return thing.size
    if not thing.config.get("size"):
        raise Forbidden(f'Custom volume {thing.name!r} in project {thing.project!r} has no "size" config set')
    return as_bytes(thing.config["size"])


def _value(holding: Holding, key: str) -> str:
    if key != "limits.disk":
        return holding.config.get(key, "")
    root = expand.root_disk(holding.devices)
    return root[1].get("size", "") if root else ""


def usage(parts: Parts, record: ProjectRecord) -> dict[str, dict[str, int]]:
    """How much of each limit is taken; -1 stands for a limit that is not set."""
    found = holdings(parts, record.name)
    used = {key.removeprefix("limits."): count for key, count in _counts(found).items()}
    used["networks"] = len(parts.state.networks.all(record.name))
    for key, word in SUMMED.items():
        used[word] = sum(_told(_value(each, key)) for each in found)
    used["disk"] += sum(_told(each.config.get("size", "")) for each in volumes(parts, record.name))
    used["disk"] += sum(each.size for each in parts.state.images.all(record.name))
    shown = {}
    for word, count in used.items():
        most = record.config.get(f"limits.{word}")
        shown[word] = {"Limit": as_bytes(most) if most else -1, "Usage": count}
    return shown


def _told(value: str) -> int:
    try:
        return as_bytes(value) if value else 0
    except Invalid:
        return 0
