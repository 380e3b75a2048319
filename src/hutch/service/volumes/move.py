"""Rename a custom volume, or move it to another pool or project; what has it as a disk follows."""

from msgspec.structs import replace

from hutch.access.projects import Kind, home
from hutch.errors import Invalid
from hutch.schema.storage import VolumeMove, VolumeRecord
from hutch.service import pools
from hutch.service.instances.volume import doomed
from hutch.service.parts import Parts
from hutch.service.volumes import create, migrate, render, settings, uses
from hutch.service.volumes.update import delete_held
from hutch.store.records import Transaction
from hutch.work.operations import Operation


async def move(parts: Parts, pool: str, project: str, name: str, wanted: VolumeMove) -> VolumeRecord | Operation:
    """Sync for a new name, an operation for a new pool or project, as clients expect."""
    place = home(parts.state, project, Kind.VOLUMES)
    record = parts.state.volumes.get(pool, place, name)
    if wanted.migration:
        return migrate.send(parts, record, wanted)
    new_name = wanted.name or name
    settings.check_name(new_name)
    target = replace(
        record,
        name=new_name,
        pool=wanted.pool or pool,
        project=home(parts.state, wanted.project, Kind.VOLUMES) if wanted.project else place,
    )
    if wanted.project:
        parts.state.projects.get(wanted.project)
    _check(parts, record, target)
    if (target.pool, target.project) == (pool, place):
        await _rename(parts, record, target)
        return target
    pools.running(parts, target.pool)

    async def work(operation: Operation) -> None:
        locks = (settings.lock(pool, place, name), settings.lock(target.pool, target.project, target.name))
        async with parts.locks.hold(*locks):
            current = parts.state.volumes.get(pool, place, name)
            _check(parts, current, target)
            moved = replace(current, name=target.name, pool=target.pool, project=target.project)
            if target.project != place and (using := uses.of(parts, current).urls):
                raise Invalid(f"The storage volume is still in use by {', '.join(using)}: it cannot change its project")
            await create.copy_held(parts, moved, (current, None), only=False, moves=True)
            async with parts.state.change() as transaction:
                backups = parts.state.backups.all("custom", pool, place, name)
                transaction.delete(*backups)
                for each in backups:
                    transaction.put(replace(each, owner=moved.name, pool=moved.pool, project=moved.project))
                _repoint(parts, transaction, current, moved)
            await delete_held(parts, current)
        parts.events.lifecycle("storage-volume-deleted", render.url(pool, place, "custom", name), place)

    return parts.operations.start("Moving storage volume", work, project=place, resources=render.resources(record))


def _check(parts: Parts, record: VolumeRecord, target: VolumeRecord) -> None:
    settings.check_free(parts, target.pool, target.project, target.name)
    if running := uses.running(parts, record):
        raise Invalid(f"Volume is still in use by running instances: {', '.join(each.name for each in running)}")


async def _rename(parts: Parts, record: VolumeRecord, target: VolumeRecord) -> None:
    locks = (settings.lock(record.pool, record.project, each.name) for each in (record, target))
    async with parts.locks.hold(*locks):
        record = parts.state.volumes.get(record.pool, record.project, record.name)
        _check(parts, record, target)
        renamed = replace(record, name=target.name)
        driver = pools.running(parts, record.pool)
        begun = doomed(driver, settings.of(renamed), renamed_from=record.name)
        await parts.state.put(begun)
        try:
            await driver.rename(settings.of(record), renamed.name)
        except BaseException:
            await parts.state.delete(begun)
            raise
        history = parts.state.volume_snapshots.all(record.pool, record.project, record.name)
        async with parts.state.change() as transaction:
            backups = parts.state.backups.all("custom", record.pool, record.project, record.name)
            transaction.delete(record, begun, *history, *backups)
            transaction.put(renamed, *create.snapshots_of(renamed, history))
            transaction.put(*(replace(each, owner=renamed.name) for each in backups))
            _repoint(parts, transaction, record, renamed)
    where = render.url(record.pool, record.project, "custom", renamed.name)
    parts.events.lifecycle("storage-volume-renamed", where, record.project, {"old_name": record.name})


def _repoint(parts: Parts, transaction: Transaction, record: VolumeRecord, moved: VolumeRecord) -> None:
    """Let the disks of instances and profiles name the volume as it is called now."""
    users = uses.of(parts, record)
    for instance in users.instances:
        transaction.put(replace(instance, devices=uses.pointed(record, moved, instance.devices)))
    for profile in users.profiles:
        transaction.put(replace(profile, devices=uses.pointed(record, moved, profile.devices)))
