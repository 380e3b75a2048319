"""Snapshots of custom volumes: create, restore, rename, change, delete."""

from datetime import datetime

from msgspec.structs import replace

from hutch.access.projects import Kind, home
from hutch.errors import AlreadyExists, Conflict, Invalid
from hutch.schema import schedule
from hutch.schema.base import ZERO_TIME, now
from hutch.schema.storage import VolumeRecord, VolumeSnapshotPost, VolumeSnapshotRecord
from hutch.service import allow, pools, snapshot_names
from hutch.service.instances import rules
from hutch.service.instances.volume import doomed, making, remove
from hutch.service.parts import Parts
from hutch.service.volumes import quiet, render, settings, uses
from hutch.work.operations import Operation


def get(parts: Parts, pool: str, project: str, volume: str, name: str) -> VolumeSnapshotRecord:
    return parts.state.volume_snapshots.get(pool, home(parts.state, project, Kind.VOLUMES), volume, name)


def of(parts: Parts, record: VolumeRecord) -> list[VolumeSnapshotRecord]:
    return parts.state.volume_snapshots.all(record.pool, record.project, record.name)


def create(parts: Parts, record: VolumeRecord, wanted: VolumeSnapshotPost) -> Operation:
    """The name is what `snapshots.pattern` makes of the moment when none is given."""
    allow.snapshot(parts, record.project)
    if wanted.name:
        rules.check_snapshot_name(wanted.name)
        _check_free(parts, record, wanted.name)

    async def work(operation: Operation) -> None:
        async with parts.locks.hold(settings.lock(record.pool, record.project, record.name)):
            current = parts.state.volumes.get(record.pool, record.project, record.name)
            await take_held(parts, current, wanted.name, wanted.expires_at, wanted.description)

    described = render.resources(record)
    if wanted.name:
        where = render.url(record.pool, record.project, "custom", f"{record.name}/{wanted.name}")
        described = described | {"storage_volume_snapshots": [where]}
    return parts.operations.start("Creating storage volume snapshot", work, project=record.project, resources=described)


def _check_free(parts: Parts, record: VolumeRecord, name: str) -> None:
    if parts.state.volume_snapshots.find(record.pool, record.project, record.name, name) is not None:
        raise AlreadyExists(f"Snapshot {name!r} of storage volume {record.name!r} already exists")


async def take_held(
    parts: Parts, record: VolumeRecord, name: str = "", expires_at: datetime | None = None, description: str = ""
) -> VolumeSnapshotRecord:
    """Make a snapshot of a volume whose lock is held."""
    moment = now()
    name = name or snapshot_names.next_name(
        record.config.get("snapshots.pattern", ""), {each.name for each in of(parts, record)}, moment
    )
    _check_free(parts, record, name)
    expires = expires_at or schedule.after(record.config.get("snapshots.expiry", ""), moment)
    made = VolumeSnapshotRecord(
        pool=record.pool,
        project=record.project,
        volume=record.name,
        name=name,
        description=description or record.description,
        config=record.config,
        content_type=record.content_type,
        created_at=moment,
        expires_at=expires or ZERO_TIME,
    )
    driver = pools.running(parts, record.pool)
    async with making(parts, driver, settings.of(made)) as begun:
        await quiet.quietly(parts, record, lambda: driver.snapshot(settings.of(record), name))
        async with parts.state.change() as transaction:
            transaction.put(made)
            transaction.delete(begun)
    _tell(parts, "created", made)
    return made


def _tell(parts: Parts, what: str, record: VolumeSnapshotRecord, **context: str) -> None:
    where = render.url(record.pool, record.project, "custom", f"{record.volume}/{record.name}")
    parts.events.lifecycle(f"storage-volume-snapshot-{what}", where, record.project, context or None)


async def restore(parts: Parts, record: VolumeRecord, name: str) -> None:
    """Make a volume, whose lock is held, hold what its snapshot holds."""
    kept = parts.state.volume_snapshots.get(record.pool, record.project, record.name, name)
    if running := uses.running(parts, record):
        names = ", ".join(each.name for each in running)
        raise Invalid(f"Cannot restore custom volume used by running instances: {names}")
    driver = pools.running(parts, record.pool)
    await driver.restore(settings.of(record), kept.name)
    where = render.url(record.pool, record.project, "custom", record.name)
    parts.events.lifecycle("storage-volume-restored", where, record.project, {"snapshot": name})


def delete(parts: Parts, record: VolumeSnapshotRecord) -> Operation:
    async def work(operation: Operation) -> None:
        async with parts.locks.hold(settings.lock(record.pool, record.project, record.volume)):
            await delete_held(
                parts, parts.state.volume_snapshots.get(record.pool, record.project, record.volume, record.name)
            )

    return parts.operations.start(
        "Deleting storage volume snapshot", work, project=record.project, resources=render.resources(record)
    )


async def delete_held(parts: Parts, record: VolumeSnapshotRecord) -> None:
    driver = pools.running(parts, record.pool)
    gone = doomed(driver, settings.of(record))
    async with parts.state.change() as transaction:
        transaction.delete(record)
        transaction.put(gone)
    await remove(parts, driver, gone)
    _tell(parts, "deleted", record)


def rename(parts: Parts, record: VolumeSnapshotRecord, new: str) -> Operation:
    rules.check_snapshot_name(new)

    async def work(operation: Operation) -> None:
        async with parts.locks.hold(settings.lock(record.pool, record.project, record.volume)):
            current = parts.state.volume_snapshots.get(record.pool, record.project, record.volume, record.name)
            if parts.state.volume_snapshots.find(record.pool, record.project, record.volume, new) is not None:
                raise Conflict(f"Snapshot {new!r} of storage volume {record.volume!r} already exists")
            renamed = replace(current, name=new)
            driver = pools.running(parts, record.pool)
            begun = doomed(driver, settings.of(renamed), renamed_from=record.name)
            await parts.state.put(begun)
            await driver.rename(settings.of(current), new)
            async with parts.state.change() as transaction:
                transaction.delete(current, begun)
                transaction.put(renamed)
            _tell(parts, "renamed", renamed, old_name=record.name)

    return parts.operations.start(
        "Renaming storage volume snapshot", work, project=record.project, resources=render.resources(record)
    )


async def change(
    parts: Parts, record: VolumeSnapshotRecord, description: str | None, expires_at: datetime | None
) -> None:
    """A new description or expiry; None leaves what is."""
    async with parts.locks.hold(settings.lock(record.pool, record.project, record.volume)):
        current = parts.state.volume_snapshots.get(record.pool, record.project, record.volume, record.name)
        changed = replace(
            current,
            description=current.description if description is None else description,
            expires_at=expires_at or current.expires_at,
        )
        await parts.state.put(changed)
    _tell(parts, "updated", changed)
