"""The host that a running guest comes to: its files come while it runs there, its state is brought back here and held.

It runs when the source has decided so and has ended its own; until then, and when the source has decided nothing, nothing of it is
left here in the end. docs/decisions/016-live-move.md has the states.
"""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from hutch.errors import Conflict, HutchError, ToolFailed, Unsupported
from hutch.runtime.base import Held
from hutch.schema.base import Config
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.move import PREPARED, RECEIVING, RUNNING, MoveRecord, MoveReport, Offer, PieceOffer, Word
from hutch.service import allow
from hutch.service.instances import expand, launch, make, rules, stateful, volume
from hutch.service.instances.launch import Launch
from hutch.service.migration import live_host, live_moves
from hutch.service.migration.live_wire import PATIENCE, Line, receive_files, receive_pass
from hutch.service.migration.receiving import Receiving
from hutch.service.parts import Parts
from hutch.storage.base import Piece
from hutch.work.faults import point
from hutch.work.operations import Operation

_HEARD = 10.0
_NOT_HERE = (".host_name", ".last_state.power", ".last_state.ready", ".apply_template")


async def receive(receiving: Receiving, history: list[SnapshotRecord]) -> None:
    """Take the guest in, whose name is locked, and its snapshots; it runs here when this returns."""
    if receiving.source.mode != "pull":
        raise Unsupported("A running instance is moved with the mode pull alone: the target must reach the source")
    line = Line(receiving.channel)
    async with line.listening():
        offer = await line.hear(Offer, PATIENCE)
        await live_host.check(receiving.parts, offer)
        arrival = _Arrival(receiving, line, offer, history)
        teller = asyncio.create_task(
            arrival.tell(receiving.operation), name=f"progress of the arrival of {arrival.record.name}"
        )
        try:
            await arrival.take()
        finally:
            teller.cancel()


class _Arrival:
    """One guest that comes. `got` counts bytes of all kinds."""

    def __init__(self, receiving: Receiving, line: Line, offer: Offer, history: list[SnapshotRecord]) -> None:
        self.history = history
        self.parts, self.pool, self.line, self.offer = receiving.parts, receiving.pool, line, offer
        self.channel = receiving.channel
        self.record = _record(receiving.parts, receiving.record, offer)
        self.directory = self.parts.instance_directory(self.record.project, self.record.name)
        self.note = MoveRecord(
            id=offer.id,
            secret=offer.secret,
            project=self.record.project,
            instance=self.record.name,
            phase=RECEIVING,
            pool=self.pool.name,
            peer=receiving.source.operation,
            certificate=receiving.source.certificate,
            record=self.record,
            addresses=offer.addresses,
        )
        self.got, self.stage = 0, "files"
        self.times: dict[str, float] = {}

    def told(self, size: int) -> None:
        """Called in threads."""
        self.got += size

    async def tell(self, operation: Operation) -> None:
        """Show how far it is, until it is cancelled."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(0.25)
            speed = int(self.got / (time.monotonic() - began))
            text = f"{self.got / 1e6:.1f}MB ({speed / 1e6:.2f}MB/s)"
            operation.progress("migration_progress", self.stage, 0, speed, text)

    async def take(self) -> None:
        parts, record = self.parts, self.record
        _check(parts, record, self.offer)
        doomed = volume.doomed(self.pool, volume.of(record))
        await parts.state.put(self.note, doomed)
        held: Held | None = None
        try:
            async with AsyncExitStack() as undo:
                roots = await self._assemble()
                files = asyncio.ensure_future(self._files(roots))
                undo.push_async_callback(_ended, files)
                begun = await self._arrange(undo)
                await self.line.expect("arrange")
                await self.line.say(Word("arranged"))
                self.stage = "state"
                await point("target-arranged")
                held = await self._restore(begun, files, undo)
                parts.live[record.project, record.name] = begun.devices
                await self.pool.assembled(roots.values())
                await point("target-restored")
                await held.stand()
                self.note = replace(self.note, phase=PREPARED)
                async with allow.settled(parts, record.project):
                    allow.instance(parts, record.project, record.name, *expand.of(parts.state, record))
                    async with parts.state.change() as transaction:
                        transaction.put(record, self.note, *self.history)
                        transaction.delete(doomed)
                undo.pop_all()
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(live_moves.give_up(parts, self.note, held)))
            raise
        # Not the operation's any more: whatever ends that, the source may have decided.
        finishing = parts.tasks.spawn(self._finish(held, begun), f"arrival of {record.name}")
        if reason := await asyncio.shield(finishing):
            raise HutchError(reason)

    async def _assemble(self) -> dict[str, Path]:
        wanted = await self.pool.assemble(
            volume.of(self.record),
            _pieces(self.offer.pieces),
            {each.name: _pieces(self.offer.snapshots[each.name]) for each in self.history},
        )
        _, devices = expand.of(self.parts.state, self.record)
        if size := volume.size(devices):
            await volume.limit(self.pool, volume.of(self.record), size)
        await self.line.say(Word("wanted", wanted=list(wanted)))
        await point("target-wanted")
        return wanted

    async def _files(self, roots: dict[str, Path]) -> None:
        while not (await receive_pass(self.channel.fs, roots, self.told)).last:
            pass

    async def _arrange(self, undo: AsyncExitStack) -> Launch:
        """What needs no frozen guest."""
        parts, record = self.parts, self.record
        await make.directory(parts, record)
        await asyncio.to_thread(live_host.put_files, self.directory, self.offer.files)
        await live_host.memory(stateful.images(parts, record))
        return await launch.arrange(parts, record, undo, held=True)

    async def _restore(self, begun: Launch, files: "asyncio.Task[None]", undo: AsyncExitStack) -> Held:
        """The state comes beside the last of the files; then all is there."""
        parts, record = self.parts, self.record
        assert self.channel.criu is not None
        assert begun.plan.images is not None
        await self.line.expect("frozen")
        for device in begun.devices:
            await device.await_guest(self.offer.addresses)
        await self.line.during(self._both(receive_files(self.channel.criu, begun.plan.images, self.told), files))
        await point("target-received")
        began = time.monotonic()
        await launch.mount_root(parts, record, undo)
        await asyncio.to_thread(stateful.give, begun.plan.images, begun.plan.idmap)
        try:
            held = await self.line.during(parts.runtime.start_held(begun.plan))
        except ToolFailed as error:
            raise HutchError(f"the state of the instance cannot be brought back here: {error.stderr}") from error
        self.times["restore"] = time.monotonic() - began
        return held

    async def _both(self, images: Coroutine[Any, Any, None], files: "asyncio.Task[None]") -> None:
        coming = asyncio.create_task(images)
        try:
            await coming
            await files
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    async def _finish(self, held: Held, begun: Launch) -> str:
        """Everything is here but the decision; why the guest does not run here in the end, empty when it does."""
        parts, line = self.parts, self.line
        await point("target-prepared")
        try:
            await self._decide(held)
        except HutchError as error:
            return str(error)
        await launch.pin(parts, begun)
        note = parts.state.moves.get(self.note.project, self.note.instance)
        try:
            await line.say(Word(RUNNING, times=self.times))
            await point("target-said-running")
            await line.expect("heard", _HEARD)
        except HutchError:
            said = MoveReport(outcome=RUNNING)
            parts.tasks.spawn(live_moves.tell(parts, note, said), f"report on {note.instance}")
        else:
            await live_moves.heard(parts, note)
        return ""

    async def _decide(self, held: Held) -> None:
        parts, note, line = self.parts, self.note, self.line
        word = ""
        with contextlib.suppress(HutchError):
            await line.say(Word("prepared", times=self.times))
            word = (await line.hear(Word, PATIENCE)).step
        began = time.monotonic()
        if word == "abort":
            await live_moves.give_up(parts, note, held)
        elif word == "commit":
            await live_moves.run(parts, note, held)
        else:
            await live_moves.decide(parts, note, held)
        self.times["network"] = time.monotonic() - began
        if parts.state.moves.find(note.project, note.instance) is None:
            raise Conflict("the source has given the move up: the instance goes on there")


def _pieces(offered: list[PieceOffer]) -> list[Piece]:
    return [Piece(each.name, each.image) for each in offered]


def _record(parts: Parts, wanted: InstanceRecord, offer: Offer) -> InstanceRecord:
    """The instance as the client wants it, with what belongs to the guest that runs: hardware addresses, image, uuid."""
    offered = {key: value for key, value in offer.config.items() if not key.endswith(_NOT_HERE)}
    kept = allow.own_config(parts, wanted.project, offered)
    own = {key: value for key, value in wanted.config.items() if not key.endswith(_NOT_HERE)}
    config: Config = own | kept
    record = launch.noted(parts, replace(wanted, config=config, stateful=True))
    return replace(record, config=record.config | {"volatile.last_state.power": "STOPPED"})


def _check(parts: Parts, record: InstanceRecord, offer: Offer) -> None:
    rules.check_free(parts, record.project, record.name)
    rules.check_no_move(parts, record.project, record.name)
    config, _ = rules.check_settings(parts, record.project, record.name, record.profiles, record.config, record.devices)
    if [(each.kind, each.inside, each.outside, each.count) for each in volume.idmap_of(config)] != offer.idmap:
        raise Unsupported("The instance cannot go on running on this host: its ids are mapped to others here")


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
