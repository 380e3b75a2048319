"""Rename a stopped instance, with its snapshots."""

import asyncio
from pathlib import Path
from uuid import uuid4

from msgspec.structs import replace

from hutch.errors import Conflict
from hutch.service.instances import power, render, rules, volume
from hutch.service.parts import Parts, instance_lock
from hutch.storage.base import Volume
from hutch.work.operations import Operation


def rename(parts: Parts, project: str, name: str, new: str) -> Operation:
    parts.state.instances.get(project, name)
    rules.check_name(new)
    rules.check_free(parts, project, new)

    async def work(operation: Operation) -> None:
        async with parts.locks.hold(instance_lock(project, name), instance_lock(project, new)):
            await _now_held(parts, project, name, new)

    return parts.operations.start("Renaming instance", work, project=project, resources=render.resources(project, name))


async def _now_held(parts: Parts, project: str, name: str, new: str) -> None:
    record = parts.state.instances.get(project, name)
    rules.check_free(parts, project, new)
    if parts.runtime.running(project, name) is not None:
        raise Conflict("Renaming of running instance not allowed")
    pool = volume.pool_of(parts, record)
    fresh = {"volatile.apply_template": "rename", "volatile.cloud-init.instance-id": str(uuid4())}
    renamed = replace(record, name=new, config=record.config | fresh)
    if record.config.get("volatile.apply_template"):
        renamed = replace(renamed, config=record.config)
    snapshots = parts.state.snapshots.all(project, name)
    backups = parts.state.backups.all("container", "-", project, name)
    for device in power.live_devices(parts, record):
        await device.forget()
    begun = volume.doomed(pool, volume.of(renamed), renamed_from=name)
    await parts.state.put(begun)
    try:
        await pool.rename(volume.of(record), new)
    except BaseException:
        await parts.state.delete(begun)
        raise
    await asyncio.to_thread(_move, parts.instance_directory(project, name), parts.instance_directory(project, new))
    async with parts.state.change() as transaction:
        transaction.delete(record, begun, *snapshots, *backups)
        transaction.put(renamed, *(replace(each, instance=new) for each in snapshots))
        transaction.put(*(replace(each, owner=new) for each in backups))
    parts.rendered.pop((project, name), None)
    parts.events.lifecycle("instance-renamed", render.url(project, new), project, {"old_name": name})


def _move(old: Path, new: Path) -> None:
    if old.exists():
        old.rename(new)


async def back(parts: Parts, pool: object, project: str, name: str, old: str) -> None:
    """A rename was cut short by a crash: the volume and the folder get their old names again."""
    from hutch.storage.base import StorageDriver

    assert isinstance(pool, StorageDriver)
    volume_new = Volume("container", project, name)
    if await pool.has(volume_new) and not await pool.has(Volume("container", project, old)):
        await pool.rename(volume_new, old)
    await asyncio.to_thread(_move, parts.instance_directory(project, name), parts.instance_directory(project, old))
