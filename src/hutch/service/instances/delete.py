"""Delete an instance, its snapshots and all that was made for it."""

import asyncio
import logging
from pathlib import Path

from hutch.device import load
from hutch.errors import Conflict, Forbidden
from hutch.kernel import mount, tree
from hutch.schema.instance import InstanceRecord
from hutch.schema.keys import instance as keys
from hutch.schema.move import ARRIVED
from hutch.service import warnings
from hutch.service.instances import expand, render, rules, surroundings, volume
from hutch.service.parts import Parts, instance_lock
from hutch.work.operations import Operation

log = logging.getLogger(__name__)


def delete(parts: Parts, project: str, name: str) -> Operation:
    _check(parts, parts.state.instances.get(project, name))

    async def work(operation: Operation) -> None:
        async with parts.locks.hold(instance_lock(project, name)):
            record = parts.state.instances.get(project, name)
            _check(parts, record)
            await now_held(parts, record)

    return parts.operations.start("Deleting instance", work, project=project, resources=render.resources(project, name))


def _check(parts: Parts, record: InstanceRecord) -> None:
    if parts.runtime.running(record.project, record.name) is not None:
        raise Conflict("The instance is currently running, stop it first or pass --force")
    note = parts.state.moves.find(record.project, record.name)
    if note is None or note.phase != ARRIVED:
        rules.check_here(parts, record.project, record.name)
    if keys.flag(expand.of(parts.state, record)[0], "security.protection.delete"):
        raise Forbidden("Instance is protected: unset security.protection.delete to delete it")


async def now_held(parts: Parts, record: InstanceRecord) -> None:
    """Delete a stopped instance whose lock is held. From the first commit on it is gone; start-up finishes the rest."""
    project, name = record.project, record.name
    config, devices = expand.of(parts.state, record)
    pool = volume.pool(parts, devices)
    snapshots = parts.state.snapshots.all(project, name)
    context = surroundings.context(parts, project, name, config, devices)
    known, failures = load.every(devices, context)
    for device in known:
        await device.forget()
    for failure in failures:
        log.warning("instance %s is deleted all the same: %s", name, failure)
    backups = parts.state.backups.all("container", "-", project, name)
    gone = [volume.doomed(pool, volume.of(each)) for each in snapshots] + [volume.doomed(pool, volume.of(record))]
    async with parts.state.change() as transaction:
        note = parts.state.moves.find(project, name)
        transaction.delete(record, *snapshots, *backups)
        transaction.delete(*([note] if note is not None and note.phase == ARRIVED else []))
        transaction.put(*gone)
    for each in gone:
        await volume.remove(parts, pool, each)
    directory = parts.instance_directory(project, name)
    await asyncio.to_thread(_unlink, [parts.backups / each.file for each in backups])
    for name_of_mount in ("rootfs", "state"):
        await asyncio.to_thread(mount.detach, directory / name_of_mount)
    await tree.remove(directory)
    parts.rendered.pop((project, name), None)
    await warnings.forget(parts, render.url(project, name))
    parts.events.lifecycle("instance-deleted", render.url(project, name), project)


def _unlink(files: list[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
