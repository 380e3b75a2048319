"""Copy an instance, or one of its snapshots, into a new instance on this host."""

from hutch.errors import Invalid, NotFound
from hutch.schema.base import ZERO_TIME, Config, now, strings
from hutch.schema.instance import InstancePost, InstanceRecord, SnapshotRecord
from hutch.service.instances import make, move, power, refresh, render, rules, snapshot, volume
from hutch.service.parts import Parts, instance_lock
from hutch.storage.base import Volume
from hutch.work.operations import Operation

_OWN = ("volatile.uuid", "volatile.idmap.", "volatile.last_state.", "volatile.apply_template")
"""Volatile keys that a copy does not take over; nor does it those of nics, which name links and addresses."""


def start(parts: Parts, project: str, name: str, wanted: InstancePost) -> Operation:
    """`source.source` is NAME or NAME/SNAPSHOT in `source.project` (the new instance's own when empty)."""
    origin_project = wanted.source.project or project
    origin, _, origin_snapshot = wanted.source.source.partition("/")
    source = _source(parts, origin_project, origin, origin_snapshot)
    existing = parts.state.instances.find(project, name) if wanted.source.refresh else None
    record = existing or _record(parts, project, name, wanted, source)
    if existing is None:
        rules.check_free(parts, project, name)
        rules.check_settings(parts, project, name, record.profiles, record.config, record.devices)
    else:
        refresh.check(parts, existing)
    only = wanted.source.instance_only or wanted.source.container_only or bool(origin_snapshot)

    async def work(operation: Operation) -> None:
        locks = {instance_lock(project, name), instance_lock(origin_project, origin)}
        async with parts.locks.hold(*locks):
            source = _source(parts, origin_project, origin, origin_snapshot)
            if existing is None:
                rules.check_free(parts, project, name)
                await _now_held(parts, record, source, only=only)
            else:
                await refresh.now_held(parts, parts.state.instances.get(project, name), source, only=only)
        if wanted.start:
            await power.start(parts, project, name)

    resources = render.resources(project, name)
    return parts.operations.start("Creating instance", work, project=project, resources=resources)


def _source(parts: Parts, project: str, name: str, snapshot: str) -> InstanceRecord | SnapshotRecord:
    if not name:
        raise Invalid("The copy needs the name of a source instance")
    record = parts.state.instances.find(project, name)
    if record is None:
        raise NotFound(f"Instance {name!r} not found")
    return parts.state.snapshots.get(project, name, snapshot) if snapshot else record


def _record(
    parts: Parts, project: str, name: str, wanted: InstancePost, source: InstanceRecord | SnapshotRecord
) -> InstanceRecord:
    nics = {f"volatile.{device}." for device in source.devices} | {
        f"volatile.{key.split('.')[1]}."
        for key in source.config
        if key.startswith("volatile.") and key.endswith(".hwaddr")
    }
    kept: Config = {
        key: value
        for key, value in source.config.items()
        if not key.startswith(_OWN) and not key.startswith(tuple(nics))
    }
    config = kept | strings(wanted.config) | make.fresh_volatile() | {"volatile.apply_template": "copy"}
    devices = source.devices | {device: strings(each) for device, each in (wanted.devices or {}).items()}
    return InstanceRecord(
        name=name,
        project=project,
        architecture=source.architecture,
        description=wanted.description or source.description,
        ephemeral=source.ephemeral if wanted.ephemeral is None else wanted.ephemeral,
        profiles=source.profiles if wanted.profiles is None else wanted.profiles,
        config={key: value for key, value in config.items() if value != ""},
        devices=devices,
        created_at=now(),
        last_used_at=ZERO_TIME,
    )


async def _now_held(
    parts: Parts, record: InstanceRecord, source: InstanceRecord | SnapshotRecord, *, only: bool
) -> None:
    devices = rules.check_settings(parts, record.project, record.name, record.profiles, record.config, record.devices)[
        1
    ]
    pool = volume.pool(parts, devices)
    if isinstance(source, SnapshotRecord):
        origin = parts.state.instances.get(source.project, source.instance)
        history: list[SnapshotRecord] = []
    else:
        origin = source
        history = [] if only else snapshot.history(parts, source)
    source_pool = volume.pool_of(parts, origin)
    async with volume.making(parts, pool, volume.of(record)) as doomed:
        names = [each.name for each in history]
        target = volume.of(record)

        async def take(root: Volume) -> None:
            await volume.copy(source_pool, root, pool, target, names)

        if isinstance(source, SnapshotRecord):
            await take(volume.of(source))
        elif source_pool.name == pool.name:
            await snapshot.quietly(parts, source, lambda: take(volume.of(source)))
        else:
            async with snapshot.moment_held(parts, source) as root:
                await take(root)
        if size := volume.size(devices):
            await volume.limit(pool, target, size)
        copies = [move.moved(each, record, pool.name) for each in history]
        await make.inherit(parts, origin, record)
        await make.commit(parts, record, doomed, *copies)
    parts.events.lifecycle("instance-created", render.url(record.project, record.name), record.project)
