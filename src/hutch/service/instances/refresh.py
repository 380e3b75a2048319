"""Bring a copy up to date with what it is a copy of: only what differs is written."""

from hutch.errors import Conflict, Invalid
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.service.instances import move, render, snapshot, volume
from hutch.service.parts import Parts
from hutch.storage import transfer
from hutch.storage.base import Volume


def check(parts: Parts, record: InstanceRecord) -> None:
    """Refuse what is in use."""
    if parts.runtime.running(record.project, record.name) is not None:
        raise Conflict(f"Instance {record.name!r} is running: stop it before it is refreshed")


async def now_held(
    parts: Parts, record: InstanceRecord, source: InstanceRecord | SnapshotRecord, *, only: bool
) -> None:
    """Snapshots that the source has not any more go, missing ones come, then the root; `only` leaves snapshots alone.

    Each snapshot is whole once it is recorded, so that a refresh after one that broke off goes on from there.
    """
    check(parts, record)
    if (record.project, record.name) == (source.project, getattr(source, "instance", source.name)):
        raise Invalid(f"Instance {record.name!r} cannot be refreshed from itself")
    origin = (
        parts.state.instances.get(source.project, source.instance) if isinstance(source, SnapshotRecord) else source
    )
    source_pool, pool = volume.pool_of(parts, origin), volume.pool_of(parts, record)
    if not only and isinstance(source, InstanceRecord):
        for each in await _missing(parts, record, snapshot.history(parts, source)):
            async with volume.making(
                parts, pool, Volume("container", record.project, record.name, each.name)
            ) as doomed:
                await transfer.refresh(source_pool, volume.of(each), pool, volume.of(record))
                await pool.snapshot(volume.of(record), each.name)
                async with parts.state.change() as transaction:
                    transaction.put(move.moved(each, record, pool.name))
                    transaction.delete(doomed)
    if isinstance(source, SnapshotRecord):
        await transfer.refresh(source_pool, volume.of(source), pool, volume.of(record))
    else:
        async with snapshot.moment_held(parts, source) as root:
            await transfer.refresh(source_pool, root, pool, volume.of(record))
    parts.events.lifecycle("instance-updated", render.url(record.project, record.name), record.project)


async def _missing(parts: Parts, record: InstanceRecord, theirs: list[SnapshotRecord]) -> list[SnapshotRecord]:
    """The snapshots that the copy lacks, once those are gone that the source has not, or has of another moment."""
    moments = {each.name: each.created_at for each in theirs}
    kept = set()
    for each in snapshot.history(parts, record):
        if moments.get(each.name) == each.created_at:
            kept.add(each.name)
        else:
            await snapshot.delete_now_held(parts, each)
    return [each for each in theirs if each.name not in kept]
