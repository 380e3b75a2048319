"""Moves whose two sides have lost each other: what each has written down, what it asks and tells, and what it then does.

docs/decisions/016-live-move.md has the states. The target knows how to reach the source, so it asks what was decided, and tells what
became of the guest until that is heard.
"""

import asyncio
import contextlib
import hmac
import logging

from msgspec.structs import replace

from hutch.errors import HutchError, Invalid, NotFound, Unavailable
from hutch.kernel import mount, tree
from hutch.runtime.base import Held
from hutch.schema.move import (
    ARRIVED,
    FAILED,
    FROZEN,
    MOVED,
    PREPARED,
    RECEIVING,
    RUNNING,
    UNDECIDED,
    MoveRecord,
    MoveReport,
)
from hutch.service.instances import cpus, expand, launch, power, render, stateful, volume
from hutch.service.migration import live_peer
from hutch.service.parts import Parts, instance_lock
from hutch.work.faults import point

log = logging.getLogger(__name__)

_CONFIRMATION = 60.0
_EVERY = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds between two questions to a server that does not answer; the last one for ever."""


def find(parts: Parts, id: str, secret: str) -> MoveRecord:
    """The move by its id, for who knows its secret."""
    for note in parts.state.moves.all():
        if note.id == id and hmac.compare_digest(note.secret.encode(), secret.encode()):
            return note
    raise NotFound("Move not found")


def decision(note: MoveRecord) -> str:
    """What the source has decided, for the target that asks; where nothing is written down the guest has stayed."""
    return MOVED if note.phase in (MOVED, ARRIVED) else UNDECIDED


async def stays(parts: Parts, note: MoveRecord) -> None:
    """On the source, whose instance is locked, the move is given up: the guest goes on here, from its state if it had to end."""
    project, name = note.project, note.instance
    record = parts.state.instances.get(project, name)
    images = stateful.images(parts, record)
    if parts.runtime.running(project, name) is not None:
        await launch.guest_folder(parts, record, expand.of(parts.state, record)[0])
        # The target may have taken their frames to itself already.
        for device in parts.live.get((project, name), []):
            await device.announce(note.addresses)
        await tree.drop(images)
        await parts.state.delete(note)
    elif await asyncio.to_thread(parts.runtime.saved, images):
        await left(parts, note)
        await back(parts, parts.state.moves.get(project, name))
    else:
        await parts.state.delete(note)


async def back(parts: Parts, note: MoveRecord) -> None:
    """On the source: the guest goes on from the state that is kept of it. Where it cannot, it is stopped, with that state."""
    record = parts.state.instances.get(note.project, note.instance)
    await parts.state.delete(note)
    await power.boot(parts, record)


async def left(parts: Parts, note: MoveRecord) -> None:
    """On the source, the guest has ended: what is kept of it is a state that it could go on from."""
    project, name = note.project, note.instance
    await power.cleared(parts, project, name)
    record = parts.state.instances.get(project, name)
    await parts.state.put(replace(record, stateful=True), replace(note, phase=MOVED))
    await parts.runtime.forget_hold(parts.instance_directory(project, name))


def expect(parts: Parts, note: MoveRecord) -> "asyncio.Future[MoveReport]":
    """What the target will have reported, by whatever way."""
    return parts.reports.setdefault(note.id, asyncio.get_running_loop().create_future())


async def outcome(parts: Parts, note: MoveRecord) -> MoveReport:
    try:
        async with asyncio.timeout(_CONFIRMATION):
            return await asyncio.shield(expect(parts, note))
    except TimeoutError:
        raise Unavailable(
            "The instance was handed over to the target, which has not confirmed yet that it runs: "
            "this is settled as soon as the two servers reach each other"
        ) from None
    finally:
        parts.reports.pop(note.id, None)


async def report(parts: Parts, note: MoveRecord, said: MoveReport) -> None:
    """The target says what became of the guest."""
    waiting = parts.reports.get(note.id)
    if waiting is not None:
        if not waiting.done():
            waiting.set_result(said)
        return
    async with parts.locks.hold(instance_lock(note.project, note.instance)):
        current = parts.state.moves.find(note.project, note.instance)
        if current is not None and current.id == note.id:
            await conclude(parts, current, said)


async def conclude(parts: Parts, note: MoveRecord, said: MoveReport) -> None:
    """On the source, whose instance is locked: forget the state of a guest that runs over there, or go on from it here."""
    if note.phase != MOVED:
        return
    project, name = note.project, note.instance
    record = parts.state.instances.get(project, name)
    if said.outcome == RUNNING:
        await parts.state.put(replace(record, stateful=False), replace(note, phase=ARRIVED))
        await tree.drop(stateful.images(parts, record))
        parts.events.lifecycle("instance-stopped", render.url(project, name), project)
        return
    log.warning("instance %s comes back, the target cannot run it: %s", name, said.reason)
    await back(parts, note)


async def clear_unborn(parts: Parts) -> None:
    """At the start, before volumes are cleaned up: guests that were on their way here, and had not come so far, go."""
    for note in parts.state.moves.all():
        if note.phase in (RECEIVING, FAILED):
            held = await _held(parts, note)
            await vanish(parts, note, held)
            if note.phase == RECEIVING:
                await parts.state.delete(note)


async def settle(parts: Parts) -> None:
    """At the start, once guests are found again: see through what an earlier daemon left in the middle."""
    for note in parts.state.moves.all():
        if note.phase == FROZEN:
            await _settle_source(parts, note)
        elif note.phase == PREPARED:
            held = await _held(parts, note)
            parts.tasks.spawn(_decide(parts, note, held), f"settling the move of {note.instance}")
        elif note.phase in (RUNNING, FAILED):
            parts.tasks.spawn(tell(parts, note, MoveReport(outcome=note.phase)), f"report on {note.instance}")


async def _settle_source(parts: Parts, note: MoveRecord) -> None:
    project, name = note.project, note.instance
    directory = parts.instance_directory(project, name)
    async with parts.locks.hold(instance_lock(project, name)):
        if await parts.runtime.settle_hold(project, name, directory):
            await left(parts, note)
        else:
            await stays(parts, note)


async def _held(parts: Parts, note: MoveRecord) -> Held:
    directory = parts.instance_directory(note.project, note.instance)
    return await parts.runtime.held_start(note.project, note.instance, directory)


async def _decide(parts: Parts, note: MoveRecord, held: Held) -> None:
    project, name = note.project, note.instance
    async with parts.locks.hold(instance_lock(project, name)):
        config = expand.of(parts.state, parts.state.instances.get(project, name))[0]
        await launch.guest_folder(parts, parts.state.instances.get(project, name), config)
        with contextlib.suppress(Invalid):
            cpus.want(parts, (project, name), config.get("limits.cpu", ""))
        await decide(parts, note, held)
        await cpus.settle(parts)
    if (now := parts.state.moves.find(project, name)) is not None and now.phase == RUNNING:
        await tell(parts, now, MoveReport(outcome=RUNNING))


async def decide(parts: Parts, note: MoveRecord, held: Held) -> None:
    """On the target, whose instance is locked: ask the source what was decided until it says, and do that."""
    waits = iter(_EVERY)
    wait = next(waits)
    while not await decided(parts, note, held):
        await asyncio.sleep(wait)
        wait = next(waits, wait)


async def decided(parts: Parts, note: MoveRecord, held: Held) -> bool:
    """On the target: ask the source once what was decided, and do that if it says."""
    try:
        answer = await live_peer.ask(parts, note)
    except NotFound:
        await give_up(parts, note, held)
        return True
    except (HutchError, OSError) as error:
        log.info("the source of %s does not say what was decided: %s", note.instance, error)
        return False
    if answer.get("decision") != MOVED:
        return False
    await run(parts, note, held)
    return True


async def run(parts: Parts, note: MoveRecord, held: Held) -> None:
    """On the target: the guest is ours now. Raises ToolFailed when it cannot run, which the source is told."""
    project, name = note.project, note.instance
    await point("target-decided")
    try:
        await held.commit()
    except HutchError as error:
        failed = replace(note, phase=FAILED)
        await parts.state.put(failed)
        await vanish(parts, note, None)
        parts.tasks.spawn(tell(parts, failed, MoveReport(outcome=FAILED, reason=str(error))), f"report on {name}")
        raise
    await point("target-resumed")
    record = parts.state.instances.get(project, name)
    devices = parts.live.setdefault((project, name), power.live_devices(parts, record))
    for device in devices:
        await device.admit(note.addresses)
    await held.settle()
    if (running := parts.runtime.running(project, name)) is not None:
        for device in devices:
            await device.started(running)
    await point("target-settled")
    record = parts.state.instances.get(project, name)
    power_on = {"volatile.last_state.power": "RUNNING"}
    note = replace(note, phase=RUNNING)
    await parts.state.put(replace(record, stateful=False, config=record.config | power_on), note)
    await parts.runtime.forget_hold(parts.instance_directory(project, name))
    await tree.drop(stateful.images(parts, record))


async def give_up(parts: Parts, note: MoveRecord, held: Held | None) -> None:
    """On the target: the guest has stayed where it was."""
    await vanish(parts, note, held)
    await parts.state.delete(note)


async def vanish(parts: Parts, note: MoveRecord, held: Held | None) -> None:
    """On the target: nothing is left of a guest that does not come, however far it was."""
    project, name = note.project, note.instance
    assert note.record is not None
    if held is not None:
        await held.abort()
    for device in parts.live.pop((project, name), None) or power.live_devices(parts, note.record):
        await device.release()
        await device.forget()
    await cpus.leave(parts, (project, name))
    await parts.consoles.close(project, name)
    await parts.doors.close(project, name)
    directory = parts.instance_directory(project, name)
    await asyncio.to_thread(mount.detach, directory / "rootfs")
    await tree.drop(stateful.images(parts, note.record))
    if (pool := parts.pools.get(note.pool)) is not None:
        doomed = volume.doomed(pool, volume.of(note.record))
        async with parts.state.change() as transaction:
            if (record := parts.state.instances.find(project, name)) is not None:
                transaction.delete(record, *parts.state.snapshots.all(project, name))
            transaction.put(doomed)
        await volume.remove(parts, pool, doomed)
    await tree.remove(directory)
    parts.rendered.pop((project, name), None)


async def tell(parts: Parts, note: MoveRecord, said: MoveReport) -> None:
    """On the target: say what became of the guest until the source has heard it, then there is no more to know of the move."""
    waits = iter(_EVERY)
    wait = next(waits)
    while True:
        try:
            await live_peer.ask(parts, note, said)
        except NotFound:
            break
        except (HutchError, OSError) as error:
            log.info("the source of %s does not hear what became of it: %s", note.instance, error)
        else:
            break
        await asyncio.sleep(wait)
        wait = next(waits, wait)
    await heard(parts, note)


async def heard(parts: Parts, note: MoveRecord) -> None:
    """On the target: the source knows what became of the guest."""
    current = parts.state.moves.find(note.project, note.instance)
    if current is not None and current.id == note.id:
        await parts.state.delete(current)
