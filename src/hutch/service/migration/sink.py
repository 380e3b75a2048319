"""The side of a migration that gets the instance: it is there, whole, when the last byte has come, and not before."""

import os

from hutch.errors import Conflict, Invalid
from hutch.schema.base import ZERO_TIME, Config, now, strings
from hutch.schema.instance import InstancePost, InstanceRecord
from hutch.schema.migration import Criu
from hutch.service.instances import make, power, render, rules, snapshot, volume
from hutch.service.migration import channel, connect, live
from hutch.service.migration.channel import Channel
from hutch.service.migration.receiving import Receiving
from hutch.service.parts import Parts, instance_lock
from hutch.work.operations import Operation

_NOT_TAKEN = ("volatile.last_state.", "volatile.idmap.", "volatile.apply_template")


def start(parts: Parts, project: str, name: str, wanted: InstancePost) -> Operation:
    """Begin to receive an instance: from the source's operation (mode pull), or from who connects (mode push)."""
    source = wanted.source
    if source.mode not in ("pull", "push"):
        raise Invalid(f"Unknown mode {source.mode!r} of a migration: pull and push are known")
    existing = parts.state.instances.find(project, name) if source.refresh else None
    record = existing or _record(project, name, wanted)
    if existing is None:
        rules.check_free(parts, project, name)
        rules.check_settings(parts, project, name, record.profiles, record.config, record.devices)
    else:
        _check_refresh(parts, existing)
    target = connect.named(source.operation, source.secrets, source.certificate) if source.mode == "pull" else None
    lively = source.live if target is None else "criu" in target.secrets
    operation = parts.operations.start(
        "Creating instance",
        None,
        kind="websocket" if source.mode == "push" else "task",
        project=project,
        resources=render.resources(project, name),
        may_cancel=True,
    )
    expected = channel.secrets(operation, live=lively) if source.mode == "push" else {}

    async def work(operation: Operation) -> None:
        async with connect.line(parts, operation, expected, target, live=lively) as line:
            async with line.telling(), parts.locks.hold(instance_lock(project, name)):
                await _receive(parts, operation, line, record, wanted, lively=lively)
            await line.tell(None)
        if wanted.start and not lively:
            await power.start(parts, project, name)

    operation.run(work)
    return operation


def _check_refresh(parts: Parts, record: InstanceRecord) -> None:
    if parts.runtime.running(record.project, record.name) is not None:
        raise Conflict(f"Instance {record.name!r} is running: stop it before it is refreshed")


def _record(project: str, name: str, wanted: InstancePost) -> InstanceRecord:
    given = strings(wanted.config)
    kept: Config = {
        key: value
        for key, value in given.items()
        if value != "" and not key.startswith(_NOT_TAKEN) and not _of_a_link(key)
    }
    config = make.fresh_volatile() | {"volatile.apply_template": "copy"} | kept
    if wanted.source.base_image:
        config.setdefault("volatile.base_image", wanted.source.base_image)
    return InstanceRecord(
        name=name,
        project=project,
        architecture=wanted.architecture or os.uname().machine,
        description=wanted.description,
        ephemeral=bool(wanted.ephemeral),
        profiles=["default"] if wanted.profiles is None else wanted.profiles,
        config=config,
        devices={device: strings(keys) for device, keys in (wanted.devices or {}).items()},
        created_at=now(),
        last_used_at=ZERO_TIME,
    )


def _of_a_link(key: str) -> bool:
    """Whether the key tells what a device was on the host that it comes from."""
    return key.startswith("volatile.") and key.endswith((".host_name", ".last_state.created", ".last_state.hwaddr"))


async def _receive(
    parts: Parts, operation: Operation, line: Channel, record: InstanceRecord, wanted: InstancePost, *, lively: bool
) -> None:
    current = parts.state.instances.find(record.project, record.name)
    if wanted.source.refresh and current is not None:
        _check_refresh(parts, current)
        await _refresh(Receiving(parts, operation, line, current, volume.pool_of(parts, current), wanted.source))
        return
    rules.check_free(parts, record.project, record.name)
    _, devices = rules.check_settings(
        parts, record.project, record.name, record.profiles, record.config, record.devices
    )
    receiving = Receiving(parts, operation, line, record, volume.pool(parts, devices), wanted.source)
    if lively:
        await live.receive(receiving)
    else:
        await _create(receiving, volume.size(devices))
    parts.events.lifecycle("instance-created", render.url(record.project, record.name), record.project)


async def _create(receiving: Receiving, size: int) -> None:
    parts, record, pool = receiving.parts, receiving.record, receiving.pool
    async with volume.making(parts, pool, volume.of(record)) as doomed:
        history = await receiving.agree()
        await receiving.create_root(size)
        for each in history:
            await receiving.receive_snapshot(each.name)
        await receiving.receive()
        if receiving.offered.criu == Criu.NONE:
            await receiving.receive()
        await make.commit(parts, record, doomed, *history)


async def _refresh(receiving: Receiving) -> None:
    """Bring the instance up to date: snapshots that the source has not any more go, missing ones come, then the root.

    Each snapshot is whole once it is recorded, so that a refresh after one that broke off goes on from there.
    """
    parts, record, pool = receiving.parts, receiving.record, receiving.pool
    before = parts.state.snapshots.all(record.project, record.name)
    history = await receiving.agree(refresh=True)
    coming, offered = ({each.name for each in some} for some in (history, receiving.offered.snapshots))
    for each in [] if receiving.only else before:
        if each.name not in offered or each.name in coming:
            await snapshot.delete_now_held(parts, each)
    for each in history:
        async with volume.making(parts, pool, volume.of(each)) as doomed:
            await receiving.receive_snapshot(each.name)
            async with parts.state.change() as transaction:
                transaction.put(each)
                transaction.delete(doomed)
    await receiving.receive()
    if receiving.offered.criu == Criu.NONE:
        await receiving.receive()
