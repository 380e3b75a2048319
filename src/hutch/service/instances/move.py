"""Move a stopped instance to another pool, project or name on this host, with its snapshots."""

from uuid import uuid4

from msgspec.structs import replace

from hutch.errors import Conflict, Invalid
from hutch.kernel import tree
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.migration import MovePost
from hutch.service import allow
from hutch.service.instances import expand, make, power, render, rules, snapshot, volume
from hutch.service.parts import Parts, instance_lock
from hutch.work.operations import Operation


def start(parts: Parts, project: str, name: str, wanted: MovePost) -> Operation:
    """What `pool`, `project` and `name` leave empty stays as it is."""
    _check(parts, project, name, wanted)
    place, new = wanted.project or project, wanted.name or name

    async def work(operation: Operation) -> None:
        async with parts.locks.hold(instance_lock(project, name), instance_lock(place, new)):
            record, target = _check(parts, project, name, wanted)
            await _now_held(parts, record, target, only=wanted.instance_only or wanted.container_only)

    return parts.operations.start("Moving instance", work, project=project, resources=render.resources(project, name))


def _check(parts: Parts, project: str, name: str, wanted: MovePost) -> tuple[InstanceRecord, InstanceRecord]:
    """The instance as it is and as it will be."""
    record = parts.state.instances.get(project, name)
    if parts.runtime.running(project, name) is not None:
        raise Conflict(f"Instance {name!r} is running: stop it before it is moved")
    if wanted.project:
        parts.state.projects.get(wanted.project)
    target = replace(record, project=wanted.project or project, name=wanted.name or name)
    elsewhere = (target.project, target.name) != (project, name)
    if elsewhere:
        rules.check_name(target.name)
        rules.check_free(parts, target.project, target.name)
        if record.stateful:
            raise Conflict(
                f"Instance {name!r} keeps its memory from a stateful stop: start it and stop it plainly first"
            )
    if target.name != name:
        fresh = {"volatile.apply_template": "rename", "volatile.cloud-init.instance-id": str(uuid4())}
        target = replace(target, config=fresh | record.config | {"volatile.cloud-init.instance-id": str(uuid4())})
    if wanted.pool:
        whole = expand.expanded(parts.state, target.project, target.profiles, target.config, target.devices)[1]
        target = replace(target, devices=volume.on_pool(target.devices, whole, wanted.pool))
    devices = rules.check_settings(parts, target.project, target.name, target.profiles, target.config, target.devices)[
        1
    ]
    if not elsewhere and volume.pool_name(devices) == volume.pool_of(parts, record).name:
        raise Invalid(f"Instance {name!r} is on the pool {wanted.pool!r} already")
    return record, target


async def _now_held(parts: Parts, record: InstanceRecord, target: InstanceRecord, *, only: bool) -> None:
    """Until the one commit the instance is where it was, from then on where it shall be; start-up removes the other half."""
    source_pool, devices = volume.pool_of(parts, record), expand.of(parts.state, target)[1]
    pool = volume.pool(parts, devices)
    before = snapshot.history(parts, record)
    kept = [] if only else before
    here, there = (parts.instance_directory(each.project, each.name) for each in (record, target))
    async with volume.making(parts, pool, volume.of(target)) as doomed:
        await volume.copy(source_pool, volume.of(record), pool, volume.of(target), [each.name for each in kept])
        if size := volume.size(devices):
            await volume.limit(pool, volume.of(target), size)
        await volume.settle(pool, volume.of(target))
        if here != there:
            await make.inherit(parts, record, target)
        left = volume.doomed(source_pool, volume.of(record))
        async with allow.settled(parts, target.project):
            allow.instance(parts, target.project, target.name, *expand.of(parts.state, target))
            async with parts.state.change() as transaction:
                transaction.delete(record, doomed, *before)
                transaction.put(target, left, *(moved(each, target, pool.name) for each in kept))
    await volume.remove(parts, source_pool, left)
    parts.rendered.pop((record.project, record.name), None)
    if here != there:
        for device in power.live_devices(parts, record):
            await device.forget()
        await tree.remove(here)
        parts.events.lifecycle("instance-deleted", render.url(record.project, record.name), record.project)
        parts.events.lifecycle("instance-created", render.url(target.project, target.name), target.project)
    else:
        parts.events.lifecycle("instance-updated", render.url(target.project, target.name), target.project)


def moved(kept: SnapshotRecord, target: InstanceRecord, pool: str) -> SnapshotRecord:
    """The snapshot as one of another instance, whose root is on the pool."""
    return replace(
        kept,
        instance=target.name,
        project=target.project,
        # Its memory is in the instance's folder.
        stateful=kept.stateful and (target.project, target.name) == (kept.project, kept.instance),
        devices=volume.on_pool(kept.devices, kept.expanded_devices, pool),
        expanded_devices=volume.on_pool(kept.expanded_devices, kept.expanded_devices, pool),
    )
