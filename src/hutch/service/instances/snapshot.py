"""Snapshots of instances: create, restore, rename, change, delete."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import uuid4

from msgspec.structs import replace

from hutch.access.projects import Kind, home
from hutch.errors import AlreadyExists, Conflict, Invalid
from hutch.schema import schedule
from hutch.schema.base import ZERO_TIME, now
from hutch.schema.instance import InstanceRecord, SnapshotPost, SnapshotRecord
from hutch.service import allow, snapshot_names
from hutch.service.instances import expand, memory, power, render, rules, stateful, volume
from hutch.service.parts import Parts, instance_lock
from hutch.storage.base import Volume
from hutch.work.operations import Operation


def url(project: str, name: str, snapshot: str) -> str:
    path, _, query = render.url(project, name).partition("?")
    return f"{path}/snapshots/{snapshot}" + (f"?{query}" if query else "")


def resources(project: str, name: str, snapshot: str) -> dict[str, list[str]]:
    found = render.resources(project, name)
    return found | {"instances_snapshots": [url(project, name, snapshot)]}


def next_name(parts: Parts, record: InstanceRecord) -> str:
    """What `snapshots.pattern` makes of this moment."""
    pattern = expand.of(parts.state, record)[0].get("snapshots.pattern", "")
    taken = {each.name for each in parts.state.snapshots.all(record.project, record.name)}
    return snapshot_names.next_name(pattern, taken, now())


def create(parts: Parts, project: str, name: str, wanted: SnapshotPost) -> Operation:
    """The name is made by `snapshots.pattern`, snapN by default, when none is given."""
    parts.state.instances.get(project, name)
    allow.snapshot(parts, project)
    if wanted.stateful and parts.runtime.running(project, name) is None:
        raise Invalid("Unable to create a stateful snapshot. The instance isn't running")
    snapshot = wanted.name or next_name(parts, parts.state.instances.get(project, name))
    rules.check_snapshot_name(snapshot)

    async def work(operation: Operation) -> None:
        async with parts.locks.hold(instance_lock(project, name)):
            record = parts.state.instances.get(project, name)
            await now_held(parts, record, snapshot, wanted.expires_at, with_memory=wanted.stateful)

    return parts.operations.start(
        "Snapshotting instance", work, project=project, resources=resources(project, name, snapshot)
    )


async def now_held(
    parts: Parts, record: InstanceRecord, snapshot: str, expires_at: datetime | None, *, with_memory: bool = False
) -> None:
    project, name = record.project, record.name
    if parts.state.snapshots.find(project, name, snapshot) is not None:
        raise AlreadyExists(f"Snapshot {snapshot!r} of instance {name!r} already exists")
    if with_memory:
        await stateful.check(parts, record, parts.runtime.running(project, name), "Stateful snapshot")
    config, devices = expand.of(parts.state, record)
    pool = volume.pool(parts, devices)
    moment = now()
    made = SnapshotRecord(
        name=snapshot,
        instance=name,
        project=project,
        architecture=record.architecture,
        description=record.description,
        ephemeral=record.ephemeral,
        stateful=with_memory,
        profiles=record.profiles,
        config=record.config,
        devices=record.devices,
        expanded_config=config,
        expanded_devices=devices,
        created_at=moment,
        last_used_at=record.last_used_at,
        expires_at=expires_at or schedule.after(config.get("snapshots.expiry", ""), moment) or ZERO_TIME,
    )
    async with volume.making(parts, pool, volume.of(made)) as doomed:

        async def take() -> None:
            await pool.snapshot(volume.of(record), snapshot)

        await (memory.take(parts, record, made, take) if with_memory else quietly(parts, record, take))
        async with parts.state.change() as transaction:
            transaction.put(made)
            transaction.delete(doomed)
    parts.events.lifecycle("instance-snapshot-created", url(project, name, snapshot), project)


async def quietly(parts: Parts, record: InstanceRecord, take: Callable[[], Awaitable[None]]) -> None:
    """Call `take` while the guest's processes stand still, so that what it takes is of one moment."""
    project, name = record.project, record.name
    running = parts.runtime.running(project, name)
    if running is None or running.frozen:
        await take()
        return
    await parts.runtime.freeze(project, name)
    try:
        await take()
    finally:
        await parts.runtime.unfreeze(project, name)


@asynccontextmanager
async def moment_held(parts: Parts, record: InstanceRecord, *, apart: bool = False) -> AsyncIterator[Volume]:
    """The root volume as it is now, at rest while the block lasts.

    Of a running guest, and of any when it is to be `apart`, it is a snapshot, which a crash does not leave.
    """
    if not apart and parts.runtime.running(record.project, record.name) is None:
        yield volume.of(record)
        return
    pool = volume.pool_of(parts, record)
    kept = volume.of(record).at(f".{uuid4().hex}")
    doomed = volume.doomed(pool, kept)
    await parts.state.put(doomed)
    try:
        await quietly(parts, record, lambda: pool.snapshot(volume.of(record), kept.snapshot))
        yield kept
    finally:
        await asyncio.shield(volume.remove(parts, pool, doomed))


def history(parts: Parts, record: InstanceRecord) -> list[SnapshotRecord]:
    """An instance's snapshots, the oldest first."""
    return sorted(parts.state.snapshots.all(record.project, record.name), key=lambda each: (each.created_at, each.name))


async def restore(parts: Parts, project: str, name: str, snapshot: str, *, with_memory: bool = False) -> None:
    """Go back to a snapshot: the disk, the config, the devices and the profiles. A running guest is restarted.

    `with_memory`: the guest goes on from where it was when the snapshot was taken, whether it runs now or not.
    """
    async with parts.locks.hold(instance_lock(project, name)):
        was_running = parts.runtime.running(project, name) is not None
        async with allow.settled(parts, project):
            await _restored(parts, project, name, snapshot, with_memory=with_memory)
        if was_running or with_memory:
            await power.boot(parts, parts.state.instances.get(project, name))
        parts.events.lifecycle("instance-restored", render.url(project, name), project, {"snapshot": snapshot})


async def _restored(parts: Parts, project: str, name: str, snapshot: str, *, with_memory: bool) -> None:
    record = parts.state.instances.get(project, name)
    kept = parts.state.snapshots.get(project, name, snapshot)
    if with_memory:
        await asyncio.to_thread(memory.check, parts, kept)
    pool = volume.pool_of(parts, record)
    place = home(parts.state, project, Kind.PROFILES)
    profiles = [each for each in kept.profiles if parts.state.profiles.find(place, each)]
    allow.instance(parts, project, name, *expand.expanded(parts.state, project, profiles, kept.config, kept.devices))
    if parts.runtime.running(project, name) is not None:
        await parts.runtime.kill(project, name)
        await power.cleared(parts, project, name)
        record = parts.state.instances.get(project, name)
    if record.stateful:  # Memory of another disk.
        record = await stateful.remember(parts, record, stateful=False)
    await pool.restore(volume.of(record), snapshot)
    volatile = {key: value for key, value in record.config.items() if key.startswith("volatile.")}
    config = {key: value for key, value in kept.config.items() if not key.startswith("volatile.")}
    if with_memory:
        volatile |= {key: value for key, value in kept.config.items() if key.endswith((".hwaddr", ".last_state.idmap"))}
        await memory.bring(parts, record, kept)
    restored = replace(
        record,
        architecture=kept.architecture,
        description=kept.description,
        ephemeral=kept.ephemeral,
        stateful=with_memory,
        profiles=profiles,
        config=config | volatile,
        devices=kept.devices,
    )
    await parts.state.put(restored)


def delete(parts: Parts, project: str, name: str, snapshot: str) -> Operation:
    parts.state.snapshots.get(project, name, snapshot)

    async def work(operation: Operation) -> None:
        async with parts.locks.hold(instance_lock(project, name)):
            await delete_now_held(parts, parts.state.snapshots.get(project, name, snapshot))

    return parts.operations.start(
        "Deleting snapshot", work, project=project, resources=resources(project, name, snapshot)
    )


async def delete_now_held(parts: Parts, record: SnapshotRecord) -> None:
    project, name = record.project, record.instance
    pool = volume.pool_of(parts, parts.state.instances.get(project, name))
    doomed = volume.doomed(pool, volume.of(record))
    async with parts.state.change() as transaction:
        transaction.delete(record)
        transaction.put(doomed)
    await volume.remove(parts, pool, doomed)
    await memory.remove(parts, record)
    parts.events.lifecycle("instance-snapshot-deleted", url(project, name, record.name), project)


def rename(parts: Parts, project: str, name: str, snapshot: str, new: str) -> Operation:
    parts.state.snapshots.get(project, name, snapshot)
    rules.check_snapshot_name(new)

    async def work(operation: Operation) -> None:
        async with parts.locks.hold(instance_lock(project, name)):
            record = parts.state.snapshots.get(project, name, snapshot)
            if parts.state.snapshots.find(project, name, new) is not None:
                raise Conflict(f"Snapshot {new!r} of instance {name!r} already exists")
            pool = volume.pool_of(parts, parts.state.instances.get(project, name))
            renamed = replace(record, name=new)
            begun = volume.doomed(pool, volume.of(renamed), renamed_from=snapshot)
            await parts.state.put(begun)
            await pool.rename(volume.of(record), new)
            await asyncio.to_thread(memory.rename, parts, record, new)
            async with parts.state.change() as transaction:
                transaction.delete(record, begun)
                transaction.put(renamed)
            parts.events.lifecycle(
                "instance-snapshot-renamed", url(project, name, new), project, {"old_name": snapshot}
            )

    return parts.operations.start(
        "Renaming snapshot", work, project=project, resources=resources(project, name, snapshot)
    )


async def set_expiry(parts: Parts, project: str, name: str, snapshot: str, expires_at: datetime | None) -> None:
    async with parts.locks.hold(instance_lock(project, name)):
        record = parts.state.snapshots.get(project, name, snapshot)
        await parts.state.put(replace(record, expires_at=expires_at or ZERO_TIME))
        parts.events.lifecycle("instance-snapshot-updated", url(project, name, snapshot), project)
