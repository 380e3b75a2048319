"""Bring a copy of a custom volume up to date: only what differs is written."""

from msgspec.structs import replace

from hutch.errors import Invalid
from hutch.schema.storage import VolumeRecord, VolumeSnapshotRecord
from hutch.service import pools
from hutch.service.instances.volume import making
from hutch.service.parts import Parts
from hutch.service.volumes import quiet, render, settings, snapshots, uses
from hutch.storage import transfer

Source = tuple[VolumeRecord, VolumeSnapshotRecord | None]


async def refresh_held(parts: Parts, record: VolumeRecord, origin: Source, *, only: bool) -> None:
    """Make the volume hold what its origin holds, with the snapshots that it lacks, without those that the origin no
    longer has; the locks of both are held. A failure half-way leaves a volume that the next refresh brings up to date.
    """
    volume, kept = origin
    if running := uses.running(parts, record):
        raise Invalid(f"Cannot refresh a volume used by running instances: {', '.join(each.name for each in running)}")
    from_pool, to_pool = pools.running(parts, volume.pool), pools.running(parts, record.pool)
    target = settings.of(record)
    if not only and kept is None:
        wanted = sorted(snapshots.of(parts, volume), key=lambda each: each.created_at)
        there = {each.name: each for each in snapshots.of(parts, record)}
        same = {each.name for each in wanted if each.name in there and there[each.name].created_at == each.created_at}
        for name in there.keys() - same:
            await snapshots.delete_held(parts, there[name])
        for each in (each for each in wanted if each.name not in same):
            await transfer.refresh(from_pool, settings.of(each), to_pool, target)
            made = replace(each, pool=record.pool, project=record.project, volume=record.name)
            async with making(parts, to_pool, settings.of(made)) as doomed:
                await to_pool.snapshot(target, made.name)
                async with parts.state.change() as transaction:
                    transaction.put(made)
                    transaction.delete(doomed)

    async def take() -> None:
        await transfer.refresh(from_pool, settings.of(kept or volume), to_pool, target)

    await (take() if kept else quiet.quietly(parts, volume, take))
    where = render.url(record.pool, record.project, "custom", record.name)
    parts.events.lifecycle("storage-volume-updated", where, record.project)
