"""The side of a migration that has the instance: it offers, sends, and hears from the other side how it went."""

from hutch.schema.migration import Criu, MovePost
from hutch.service.instances import render, snapshot, volume
from hutch.service.migration import channel, connect, live
from hutch.service.migration.sending import Sending, at_rest
from hutch.service.parts import Parts, instance_lock
from hutch.work.operations import Operation


def start(parts: Parts, project: str, name: str, wanted: MovePost, only: str = "") -> Operation:
    """Begin to send an instance, or of it the snapshot `only`: to the target that is named, or to who connects."""
    record = parts.state.instances.get(project, name)
    if only:
        parts.state.snapshots.get(project, name, only)
    lively = wanted.live and not only and parts.runtime.running(project, name) is not None
    if lively:
        live.check_source(parts, record)
    target = wanted.target if wanted.target is not None and wanted.target.operation else None
    operation = parts.operations.start(
        "Transferring snapshot" if only else "Migrating instance",
        None,
        kind="websocket" if target is None else "task",
        project=project,
        resources=snapshot.resources(project, name, only) if only else render.resources(project, name),
        may_cancel=True,
    )
    secrets = channel.secrets(operation, live=lively) if target is None else {}

    async def work(operation: Operation) -> None:
        async with connect.line(parts, operation, secrets, target, live=lively) as line, line.telling():
            sending = Sending(parts, operation, line, parts.state.instances.get(project, name), wanted)
            if lively:
                await live.send(sending)
            elif only:
                await _send_snapshot(sending, only)
            else:
                await _send_instance(sending)
            await line.outcome()

    operation.run(work)
    return operation


async def _send_snapshot(sending: Sending, name: str) -> None:
    parts, record = sending.parts, sending.record
    async with parts.locks.hold(instance_lock(record.project, record.name)):
        kept = parts.state.snapshots.get(record.project, record.name, name)
        await sending.agree([])
        await sending.send(volume.of(kept))


async def _send_instance(sending: Sending) -> None:
    """Snapshots from the oldest on, then the root: of a running guest, as it is at one moment."""
    parts, record = sending.parts, sending.record
    only = sending.wanted.instance_only or sending.wanted.container_only
    async with at_rest(parts, record) as root:
        for each in await sending.agree([] if only else snapshot.history(parts, record)):
            await sending.send(volume.of(each))
        await sending.send(root, record.name)
        if sending.answered.criu == Criu.NONE:
            await sending.send(root, record.name)
