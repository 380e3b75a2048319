"""Managed networks: create, change, rename, delete, and what is known of them."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from hutch import registry
from hutch.access.projects import DEFAULT
from hutch.errors import AlreadyExists, Invalid, NotFound
from hutch.network import drivers, interfaces
from hutch.network.base import NetworkDriver
from hutch.schema.base import Config, strings
from hutch.schema.network import NetworkPut, NetworkRecord
from hutch.service import acls, allow, uses, warnings, zones
from hutch.service.parts import Parts


def url(project: str, name: str) -> str:
    path = f"/1.0/networks/{quote(name, safe='')}"
    return path if project == "default" else f"{path}?project={quote(project, safe='')}"


def used_by(parts: Parts, name: str) -> list[str]:
    return uses.by_device(
        parts, lambda device: device.get("type") == "nic" and name in (device.get("network"), device.get("parent"))
    )


def document(parts: Parts, record: NetworkRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "description": record.description,
        "type": record.type,
        "config": record.config,
        "managed": True,
        "status": "Created" if record.name in parts.networks else "Unavailable",
        "locations": ["none"],
        "used_by": used_by(parts, record.name),
        "project": record.project,
    }


async def every(parts: Parts, project: str) -> list[dict[str, Any]]:
    """The project's networks by name; in the default project with the interfaces of the host that are nobody's."""
    found = {record.name: document(parts, record) for record in parts.state.networks.all(project)}
    if project == DEFAULT:
        taken = {record.name for record in parts.state.networks.all()}
        found |= {name: link for name, link in (await unmanaged()).items() if name not in taken}
    return [found[name] for name in sorted(found)]


async def interface(project: str, name: str) -> dict[str, Any]:
    """An interface of the host that is not managed: only the default project knows of them."""
    if project == DEFAULT and (link := (await unmanaged()).get(name)) is not None:
        return link
    raise NotFound("Network not found")


async def unmanaged() -> dict[str, dict[str, Any]]:
    """The host's own interfaces, which clients list beside the managed ones."""
    return {name: _unmanaged(name, kind) for name, kind in (await interfaces.present()).items()}


def _unmanaged(name: str, kind: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "",
        "type": kind,
        "config": {},
        "managed": False,
        "status": "",
        "locations": None,
        "used_by": [],
        "project": "default",
    }


def editable(record: NetworkRecord) -> dict[str, Any]:
    return {"description": record.description, "config": record.config}


def driver_class(kind: str) -> type[NetworkDriver]:
    if kind not in registry.names(drivers):
        raise Invalid(f"Network type {kind!r} is not known: {', '.join(registry.names(drivers))} are")
    found: type[NetworkDriver] = registry.load(drivers, kind)
    return found


def driver_of(parts: Parts, record: NetworkRecord) -> NetworkDriver:
    """A driver for a network that is recorded; not started."""
    driver = driver_class(record.type)(record.name, parts.directory / "networks" / record.name, record.config)
    driver.acls = {each.name: each for each in parts.state.acls.all(record.project)}
    driver.forwards = parts.state.forwards.all(record.project, record.name)
    return driver


async def state(parts: Parts, project: str, name: str) -> dict[str, Any]:
    """What the kernel says of a network, or of an interface of the host that is not managed."""
    if parts.state.networks.find(project, name) is None:
        await interface(project, name)
        return await interfaces.state(name)
    return await running(parts, name).state()


async def create(parts: Parts, project: str, wanted: NetworkPut) -> NetworkRecord:
    """Make a network; it is recorded first, so that a crash leaves something that the next start completes or the user deletes."""
    kind = wanted.type or "bridge"
    driver = driver_class(kind)
    async with parts.locks.hold(f"network/{wanted.name}", "networks"):
        if parts.state.networks.find(project, wanted.name) is not None:
            raise AlreadyExists("The network already exists")
        config = await driver.check(wanted.name, strings(wanted.config), others=_others(parts, wanted.name))
        acls.check_names(parts, project, config)
        zones.check_names(parts, config)
        if wanted.name in await unmanaged():
            raise AlreadyExists(f"An interface {wanted.name!r} already exists on this host: choose another name")
        record = NetworkRecord(
            name=wanted.name, project=project, type=kind, description=wanted.description or "", config=config
        )
        network = driver_of(parts, record)
        async with allow.settled(parts, project):
            allow.network(parts, project)
            await parts.state.put(record)
        try:
            await network.start()
        except BaseException:
            await asyncio.shield(_take_back(parts, record, network))
            raise
        parts.networks[record.name] = network
    parts.events.lifecycle("network-created", url(project, record.name), project)
    return record


async def _take_back(parts: Parts, record: NetworkRecord, network: NetworkDriver) -> None:
    await network.delete()
    await parts.state.delete(record)


def _others(parts: Parts, name: str) -> list[Config]:
    """The settings of every network but this one, for its subnets must not overlap with theirs."""
    return [record.config for record in parts.state.networks.all() if record.name != name]


def running(parts: Parts, name: str) -> NetworkDriver:
    if (network := parts.networks.get(name)) is None:
        raise NotFound(f"Network {name!r} not found")
    return network


async def put(
    parts: Parts, project: str, name: str, wanted: NetworkPut, check: Callable[[NetworkRecord], None], *, merge: bool
) -> None:
    async with parts.locks.hold(f"network/{name}", "networks"):
        record = parts.state.networks.get(project, name)
        check(record)
        config = strings(wanted.config)
        if merge:
            config = record.config | config
        config = {key: value for key, value in config.items() if value != ""}
        config = await driver_class(record.type).check(name, config, old=record.config, others=_others(parts, name))
        acls.check_names(parts, project, config)
        zones.check_names(parts, config)
        network = running(parts, name)
        description = record.description if wanted.description is None and merge else wanted.description or ""
        try:
            await network.update(config)
            await parts.state.put(replace(record, config=config, description=description))
        except BaseException:
            await asyncio.shield(network.update(record.config))
            raise
    parts.events.lifecycle("network-updated", url(project, name), project)


async def rename(parts: Parts, project: str, name: str, new: str) -> None:
    async with parts.locks.hold(f"network/{name}", f"network/{new}", "networks"):
        record = parts.state.networks.get(project, name)
        if parts.state.networks.find(project, new) is not None:
            raise AlreadyExists(f"Network {new!r} already exists")
        if using := used_by(parts, name):
            raise Invalid(f"Network is currently in use by {', '.join(using)}")
        if new in await unmanaged():
            raise AlreadyExists(f"An interface {new!r} already exists on this host: choose another name")
        config = await driver_class(record.type).check(
            new, record.config, old=record.config, others=_others(parts, name)
        )
        await running(parts, name).delete()
        del parts.networks[name]
        renamed = replace(record, name=new, config=config)
        async with parts.state.change() as transaction:
            forwards = parts.state.forwards.all(project, name)
            transaction.delete(record, *forwards)
            transaction.put(renamed, *(replace(each, network=new) for each in forwards))
        network = driver_of(parts, renamed)
        await network.start()
        parts.networks[new] = network
    parts.events.lifecycle("network-renamed", url(project, new), project, {"old_name": name})


async def delete(parts: Parts, project: str, name: str) -> None:
    async with parts.locks.hold(f"network/{name}", "networks"):
        record = parts.state.networks.get(project, name)
        if using := used_by(parts, name):
            raise Invalid(f"The network is currently in use by {', '.join(using)}")
        network = parts.networks.get(name) or driver_of(parts, record)
        await network.delete()
        parts.networks.pop(name, None)
        await parts.state.delete(record, *parts.state.forwards.all(project, name))
        await warnings.forget(parts, url(project, name))
    parts.events.lifecycle("network-deleted", url(project, name), project)
