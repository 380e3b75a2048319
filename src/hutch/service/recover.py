"""Makes the records again from what lies on the pools, after the database was lost."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec.structs import replace

from hutch.errors import HutchError, Invalid
from hutch.schema.backup import BackupConfig
from hutch.schema.base import ZERO_TIME, convert, now
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.network import NetworkRecord
from hutch.schema.profile import ProfileRecord
from hutch.schema.project import ProjectRecord
from hutch.schema.storage import PoolPut, PoolRecord, VolumeRecord, VolumeSnapshotRecord
from hutch.service import networks, notes, pools
from hutch.service.instances import boot, expand, make
from hutch.service.parts import Parts
from hutch.storage.base import StorageDriver, Volume

log = logging.getLogger(__name__)
Document = TypeVar("Document")


@dataclass
class Found:
    """A volume that no record tells of, with what lies beside it."""

    pool: str
    volume: Volume
    config: BackupConfig
    snapshots: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        return {
            "Pool": self.pool,
            "Project": self.volume.project,
            "Type": self.volume.type,
            "Name": self.volume.name,
            "SnapshotCount": len(self.snapshots),
        }


@dataclass
class Survey:
    """The networks, pools and volumes that can be recovered, and a sentence for each thing that cannot."""

    networks: list[NetworkRecord] = field(default_factory=list)
    pools: dict[str, tuple[PoolRecord, StorageDriver]] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


async def look(parts: Parts, wanted: list[PoolPut]) -> dict[str, Any]:
    """What would be recovered from the pools that are known, that left a note, or that the caller names."""
    async with _surveyed(parts, wanted) as survey:
        known = {each.name for each in (*parts.state.networks.all(), *survey.networks)}
        missing = [sentence for each in survey.found for sentence in _missing(known, each)]
        return {
            "Networks": sorted(each.name for each in survey.networks),
            "Pools": sorted(survey.pools),
            "UnknownVolumes": [each.document() for each in survey.found],
            "DependencyErrors": [],
            "Problems": survey.problems + sorted(set(missing)),
        }


async def recover(parts: Parts, wanted: list[PoolPut]) -> None:
    """Record the networks, pools, projects, profiles, instances and custom volumes that are found."""
    async with _surveyed(parts, wanted) as survey:
        for network in survey.networks:
            await _start(parts, network)
        for name, (record, driver) in list(survey.pools.items()):
            await parts.state.put(record)
            parts.pools[name] = driver
            del survey.pools[name]
            parts.events.lifecycle("storage-pool-created", pools.url(name))
        for found in survey.found:
            await _record(parts, found)


@asynccontextmanager
async def _surveyed(parts: Parts, wanted: list[PoolPut]) -> AsyncIterator[Survey]:
    survey = Survey()
    try:
        known = {each.name for each in parts.state.networks.all()}
        noted = await _noted(parts, "networks", NetworkRecord)
        survey.networks = [each for each in noted if each.name not in known]
        for wish in await _wishes(parts, wanted):
            await _open(parts, survey, wish)
        drivers = parts.pools | {name: driver for name, (_, driver) in survey.pools.items()}
        for name, driver in sorted(drivers.items()):
            await _list(parts, survey, name, driver)
        yield survey
    finally:
        for _, driver in survey.pools.values():
            await driver.deactivate()


async def _start(parts: Parts, record: NetworkRecord) -> None:
    driver = networks.driver_of(parts, record)
    await parts.state.put(record)
    try:
        await driver.start()
    except (HutchError, OSError) as error:
        log.error("the recovered network %s is not available: %s", record.name, error)
        return
    parts.networks[record.name] = driver


async def _wishes(parts: Parts, wanted: list[PoolPut]) -> list[PoolPut]:
    """The pools that have no record: those that the caller names, and those of which DIR/storage-pools tells."""
    named = {each.name: each for each in wanted}

    both = {each.name: each for each in await _noted(parts, "pools", PoolPut)} | named
    return [each for each in both.values() if parts.state.pools.find(each.name) is None]


async def _noted(parts: Parts, kind: str, document: type[Document]) -> list[Document]:
    """The notes beside the pools, or the networks, that can be read."""

    def read() -> list[Any]:
        files = sorted((parts.directory / notes.FOLDERS[kind]).glob("*.yaml"))
        return [yaml.load(path.read_text(), Loader=yaml.CSafeLoader) for path in files]

    return [msgspec.convert(each, document, strict=False) for each in await asyncio.to_thread(read)]


async def _open(parts: Parts, survey: Survey, wish: PoolPut) -> None:
    pools.check_name(wish.name)
    driver_class = pools.driver_class(wish.driver)
    path = parts.directory / "storage-pools" / wish.name
    try:
        config = await driver_class.recall({key: str(value) for key, value in (wish.config or {}).items()}, path)
        driver = driver_class(wish.name, path, config)
        await driver.recover()
    except (HutchError, OSError) as error:
        survey.problems.append(f"the storage pool {wish.name!r} cannot be used: {error}")
        return
    record = PoolRecord(name=wish.name, driver=wish.driver, description=wish.description or "", config=config)
    survey.pools[wish.name] = (record, driver)


async def _list(parts: Parts, survey: Survey, name: str, driver: StorageDriver) -> None:
    state = parts.state
    everything = await driver.volumes()
    for volume in everything:
        if volume.snapshot or volume.type == "image" or "~" in volume.name:
            continue
        if state.doomed.find(name, volume.type, volume.project, volume.name, "-") is not None:
            continue
        known = (
            state.volumes.find(name, volume.project, volume.name)
            if volume.type == "custom"
            else state.instances.find(volume.project, volume.name)
        )
        if known is not None:
            continue
        try:
            config = _read(await driver.noted(volume))
        except Invalid as error:
            survey.problems.append(f"the {volume.type} volume {volume.name!r} of pool {name!r}: {error}")
            continue
        names = [each.snapshot for each in everything if each.snapshot and each.at("") == volume]
        survey.found.append(Found(name, volume, config, names))


def _read(text: str) -> BackupConfig:
    if not text:
        raise Invalid("nothing tells what it was: it has no backup.yaml")
    try:
        return msgspec.convert(yaml.load(text, Loader=yaml.CSafeLoader), BackupConfig, strict=False)
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError) as error:
        raise Invalid(f"its backup.yaml is damaged: {error}") from error


def _missing(known: set[str], found: Found) -> list[str]:
    """Sentences for what the instance refers to and nothing here can make again."""
    devices = (found.config.owner or {}).get("expanded_devices") or {}
    wanted = {str(device["network"]) for device in devices.values() if device.get("network")}
    return [f"the network {name!r} is missing: make it before instances start" for name in sorted(wanted - known)]


async def _record(parts: Parts, found: Found) -> None:
    """The volume's records, in one step, with the project and the profiles that they need."""
    project = found.volume.project
    needed: list[msgspec.Struct] = []
    if parts.state.projects.find(project) is None:
        needed.append(convert({"name": project, "config": {}} | (found.config.project or {}), ProjectRecord))
    if found.volume.type == "custom":
        await parts.state.put(*needed, *_volume_records(found))
        return
    for document in found.config.profiles or []:
        profile = convert(document | {"project": document.get("project") or project}, ProfileRecord)
        there = parts.state.profiles.find(profile.project, profile.name)
        if there is None or (there.name == "default" and not there.config and not there.devices):
            needed.append(profile)
    record, snapshots = _instance_records(found)
    await parts.state.put(*needed, record, *snapshots)
    await make.directory(parts, record)
    await boot.adopt_one(parts, record)
    for sentence in _unusable(parts, record):
        log.warning("the recovered instance %s: %s", record.name, sentence)


def _unusable(parts: Parts, record: InstanceRecord) -> list[str]:
    try:
        expand.of(parts.state, record)
    except Invalid as error:
        return [str(error)]
    return []


def _instance_records(found: Found) -> tuple[InstanceRecord, list[SnapshotRecord]]:
    volume = found.volume
    own = {"name": volume.name, "project": volume.project}
    record = convert(_known(found.config.owner or {}) | own, InstanceRecord)
    described = {each.get("name"): each for each in found.config.snapshots or []}
    fallback = SnapshotRecord(
        name="",
        instance=volume.name,
        project=volume.project,
        architecture=record.architecture,
        profiles=record.profiles,
        config=record.config,
        devices=record.devices,
        created_at=now(),
    )
    snapshots = [
        convert(_known(described[name]) | {"instance": volume.name, "project": volume.project}, SnapshotRecord)
        if name in described
        else replace(fallback, name=name)
        for name in found.snapshots
    ]
    return record, snapshots


def _volume_records(found: Found) -> list[VolumeRecord | VolumeSnapshotRecord]:
    place = {"pool": found.pool, "project": found.volume.project}
    own = _known(found.config.volume or {}) | place | {"name": found.volume.name}
    record = convert(own, VolumeRecord)
    described = {each.get("name"): each for each in found.config.volume_snapshots or []}
    snapshots = [
        convert(
            {"created_at": record.created_at, "expires_at": ZERO_TIME, "content_type": record.content_type}
            | _known(described.get(name, {}))
            | place
            | {"volume": record.name, "name": name},
            VolumeSnapshotRecord,
        )
        for name in found.snapshots
    ]
    return [record, *snapshots]


def _known(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value is not None}
