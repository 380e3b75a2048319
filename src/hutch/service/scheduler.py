"""What happens by itself, every minute: scheduled snapshots are made, what has expired is removed, fetched images are looked after."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from hutch.errors import HutchError
from hutch.schema import schedule
from hutch.schema.base import ZERO_TIME, now
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.keys import instance as keys
from hutch.schema.schedule import Clock
from hutch.schema.storage import VolumeRecord, VolumeSnapshotRecord
from hutch.service import allow, image_upkeep
from hutch.service.backups import keep
from hutch.service.instances import expand, snapshot
from hutch.service.parts import Parts, instance_lock
from hutch.service.volumes import settings, snapshots
from hutch.work.operations import Operation

log = logging.getLogger(__name__)
Thing = TypeVar("Thing")


async def run(parts: Parts) -> None:
    """Look every minute, a little after it began, until the daemon ends."""
    clock = Clock(now())
    while True:
        await asyncio.sleep(60.5 - now().second)
        if (stretch := clock.until(now())) is not None:
            try:
                await tick(parts, *stretch)
            except HutchError as error:
                log.error("what is due now could not be told: %s", error)


async def tick(parts: Parts, after: datetime, until: datetime) -> None:
    """Do what became due between the two moments."""
    state = parts.state
    image_upkeep.begin(parts, after, until)
    await _each(
        parts,
        "Cleaning up expired instance snapshots",
        [each for each in state.snapshots.all() if _has_expired(each.expires_at, until)],
        lambda each: _remove_snapshot(parts, each),
    )
    await _each(
        parts,
        "Cleaning up expired volume snapshots",
        [each for each in state.volume_snapshots.all() if _has_expired(each.expires_at, until)],
        lambda each: _remove_volume_snapshot(parts, each),
    )
    await _each(
        parts,
        "Cleaning up expired backups",
        [each for each in state.backups.all() if _has_expired(each.expires_at, until)],
        lambda each: keep.remove(parts, each),
    )
    await _each(
        parts,
        "Creating scheduled instance snapshots",
        [each for each in state.instances.all() if _is_due(parts, each, after, until)],
        lambda each: _snapshot(parts, each),
    )
    await _each(
        parts,
        "Creating scheduled volume snapshots",
        [
            each
            for each in state.volumes.all()
            if allow.snapshots(parts, each.project)
            and schedule.due_between(each.config.get("snapshots.schedule", ""), after, until)
        ],
        lambda each: _snapshot_volume(parts, each),
    )


async def _each(
    parts: Parts, description: str, things: Sequence[Thing], do: Callable[[Thing], Awaitable[None]]
) -> None:
    """An operation that does each of the things, whether or not another fails. Returns when it has ended."""
    if not things:
        return

    async def work(operation: Operation) -> None:
        failures = []
        for thing in things:
            try:
                await do(thing)
            except HutchError as error:
                log.error("%s: %s", description, error)
                failures.append(str(error))
        if failures:
            raise HutchError("; ".join(failures))

    await parts.operations.start(description, work, project="").wait()


def _has_expired(moment: datetime, now: datetime) -> bool:
    return moment > ZERO_TIME + timedelta(days=366) and moment <= now


def _is_due(parts: Parts, record: InstanceRecord, after: datetime, until: datetime) -> bool:
    if not allow.snapshots(parts, record.project):
        return False
    config = expand.of(parts.state, record)[0]
    if not schedule.due_between(config.get("snapshots.schedule", ""), after, until):
        return False
    running = parts.runtime.running(record.project, record.name) is not None
    return running or keys.flag(config, "snapshots.schedule.stopped")


async def _snapshot(parts: Parts, record: InstanceRecord) -> None:
    async with parts.locks.hold(instance_lock(record.project, record.name)):
        if (current := parts.state.instances.find(record.project, record.name)) is not None:
            await snapshot.now_held(parts, current, snapshot.next_name(parts, current), None)


async def _snapshot_volume(parts: Parts, record: VolumeRecord) -> None:
    async with parts.locks.hold(settings.lock(record.pool, record.project, record.name)):
        if (current := parts.state.volumes.find(record.pool, record.project, record.name)) is not None:
            await snapshots.take_held(parts, current)


async def _remove_snapshot(parts: Parts, record: SnapshotRecord) -> None:
    async with parts.locks.hold(instance_lock(record.project, record.instance)):
        current = parts.state.snapshots.find(record.project, record.instance, record.name)
        if current is not None and current.expires_at == record.expires_at:
            await snapshot.delete_now_held(parts, current)


async def _remove_volume_snapshot(parts: Parts, record: VolumeSnapshotRecord) -> None:
    async with parts.locks.hold(settings.lock(record.pool, record.project, record.volume)):
        current = parts.state.volume_snapshots.find(record.pool, record.project, record.volume, record.name)
        if current is not None and current.expires_at == record.expires_at:
            await snapshots.delete_held(parts, current)
