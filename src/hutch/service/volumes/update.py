"""Change a custom volume, and delete it."""

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from hutch.access.projects import Kind, home
from hutch.errors import Conflict, Invalid
from hutch.schema.base import Config, strings
from hutch.schema.keys.base import as_bool, as_bytes
from hutch.schema.storage import VolumePut, VolumeRecord
from hutch.service import allow, pools
from hutch.service.instances.volume import doomed, remove
from hutch.service.parts import Parts
from hutch.service.volumes import content, render, settings, snapshots, uses


async def put(
    parts: Parts,
    pool: str,
    project: str,
    name: str,
    wanted: VolumePut,
    check: Callable[[VolumeRecord], None],
    *,
    merge: bool,
) -> None:
    """Replace the settings, or merge them in; with `restore` go back to a snapshot instead."""
    place = home(parts.state, project, Kind.VOLUMES)
    async with parts.locks.hold(settings.lock(pool, place, name)):
        record = parts.state.volumes.get(pool, place, name)
        check(record)
        if wanted.restore:
            await snapshots.restore(parts, record, wanted.restore)
            return
        config = strings(wanted.config)
        if merge:
            config = record.config | config
        config = {key: value for key, value in config.items() if value != ""}
        settings.check(config)
        description = record.description if wanted.description is None and merge else wanted.description or ""
        changed = replace(record, config=config, description=description)
        async with allow.settled(parts, place):
            allow.volume(parts, changed)
            await _apply(parts, record, changed)
            await parts.state.put(changed)
    parts.events.lifecycle("storage-volume-updated", render.url(pool, place, "custom", name), place)


async def _apply(parts: Parts, old: VolumeRecord, new: VolumeRecord) -> None:
    differs = {key for key in old.config.keys() | new.config.keys() if old.config.get(key) != new.config.get(key)}
    if _shifts(old.config) != _shifts(new.config) and uses.running(parts, old):
        raise Conflict("Cannot modify shifting with running instances using the volume")
    if "size" in differs:
        driver = pools.running(parts, old.pool)
        if new.content_type == "block":
            await content.resize(driver, settings.of(new), as_bytes(new.config.get("size") or old.config["size"]))
        await settings.limit(driver, new)


def _shifts(config: Config) -> bool:
    return not as_bool(config.get("security.unmapped"))


async def delete(parts: Parts, pool: str, project: str, name: str) -> None:
    """Delete a volume that nothing uses, with its snapshots."""
    place = home(parts.state, project, Kind.VOLUMES)
    async with parts.locks.hold(settings.lock(pool, place, name)):
        record = parts.state.volumes.get(pool, place, name)
        if using := uses.of(parts, record).urls:
            raise Invalid(f"The storage volume is still in use by {', '.join(using)}")
        await delete_held(parts, record)
    parts.events.lifecycle("storage-volume-deleted", render.url(pool, place, "custom", name), place)


async def delete_held(parts: Parts, record: VolumeRecord) -> None:
    """Delete a volume whose lock is held. From the first commit on it is gone; start-up finishes the rest."""
    driver = pools.running(parts, record.pool)
    gone = doomed(driver, settings.of(record))
    backups = parts.state.backups.all("custom", record.pool, record.project, record.name)
    async with parts.state.change() as transaction:
        transaction.delete(record, *backups)
        transaction.delete(*parts.state.volume_snapshots.all(record.pool, record.project, record.name))
        transaction.put(gone)
    await remove(parts, driver, gone)
    for each in backups:
        await asyncio.to_thread((parts.backups / each.file).unlink, missing_ok=True)
