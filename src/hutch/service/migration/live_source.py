"""The host that a running guest leaves: its files go while it runs, then it is frozen, sent, and ended once the other has it.

docs/decisions/016-live-move.md has the states. Until `Held.stand` the guest goes on here whatever happens, from then on it never does,
unless the target says that it cannot run it.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from hutch.device import load
from hutch.errors import Conflict, HutchError, ToolFailed, Unsupported
from hutch.kernel import bridges, changes, interfaces
from hutch.kernel.changes import Seen
from hutch.runtime.base import Held
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.keys.base import as_bytes
from hutch.schema.move import FROZEN, RUNNING, MoveRecord, MoveReport, Offer, Pass, PieceOffer, Word
from hutch.service.instances import expand, rules, stateful, surroundings, volume
from hutch.service.migration import live_host, live_moves
from hutch.service.migration.live_wire import PATIENCE, Broken, Line, send_files, send_pass
from hutch.service.migration.sending import Sending
from hutch.service.parts import Parts, instance_lock
from hutch.storage.base import Piece
from hutch.work.faults import point

_ROUNDS, _SMALL = 5, 4 << 20
"""How often what has changed is sent while the guest runs, and how many bytes of it are few enough to be sent while it does not."""

Result = TypeVar("Result")


def check(parts: Parts, record: InstanceRecord) -> None:
    """Refuse what cannot go along."""
    config, devices = expand.of(parts.state, record)
    context = surroundings.context(parts, record.project, record.name, config, devices)
    for name in sorted(devices):
        device = load.device(name, devices[name], context)
        if not device.moves:
            raise Unsupported(
                f"Instance {record.name!r} cannot be moved while it runs: its device {name!r} ({devices[name]['type']}) "
                "stays here: remove it first, or stop the instance"
            )
    if record.ephemeral:
        raise Unsupported("An ephemeral instance cannot be moved while it runs")


@dataclass
class _Move:
    """One move, as far as it has come. `sent` counts bytes of all kinds."""

    sending: Sending
    line: Line
    record: InstanceRecord
    pieces: list[tuple[Piece, Path]]
    snapshots: dict[str, list[tuple[Piece, Path]]]
    id: str = field(default_factory=lambda: str(uuid4()))
    secret: str = field(default_factory=lambda: secrets.token_hex(32))
    sent: int = 0
    total: int = 0
    began: float = field(default_factory=time.monotonic)
    stage: str = "files"
    addresses: dict[str, list[str]] = field(default_factory=dict)

    @property
    def parts(self) -> Parts:
        return self.sending.parts

    def told(self, size: int) -> None:
        """Called in threads."""
        self.sent += size

    def tell(self) -> None:
        speed = int(self.sent / max(time.monotonic() - self.began, 0.001))
        percent = min(100, self.sent * 100 // max(self.total, 1))
        text = f"{self.sent / 1e6:.1f}MB of {self.total / 1e6:.1f}MB ({speed / 1e6:.2f}MB/s)"
        self.sending.operation.progress("migration_progress", self.stage, percent, speed, text)


async def send(sending: Sending, history: list[SnapshotRecord]) -> None:
    """Move the guest with these of its snapshots; returns when it runs on the target. On failure before the decision it goes on here."""
    parts, project, name = sending.parts, sending.record.project, sending.record.name
    async with parts.locks.hold(instance_lock(project, name)):
        record = parts.state.instances.get(project, name)
        check(parts, record)
        rules.check_no_move(parts, project, name)
        running = parts.runtime.running(project, name)
        if running is None:
            raise Conflict("The instance is not running any more")
        await stateful.check(parts, record, running)
        line = Line(sending.channel)
        async with line.listening():
            pieces = await sending.pool.pieces(volume.of(record))
            snapshots = {each.name: await sending.pool.pieces(volume.of(each)) for each in history}
            move = _Move(sending, line, record, pieces, snapshots)
            teller = asyncio.create_task(_telling(move), name=f"progress of the move of {name}")
            try:
                await _move(move, running.init)
            finally:
                teller.cancel()


async def _telling(move: _Move) -> None:
    while True:
        await asyncio.sleep(0.25)
        move.tell()


async def _move(move: _Move, init: int) -> None:
    line = move.line
    await line.say(await _offer(move, init))
    wanted = (await line.expect("wanted")).wanted
    await point("source-offered")
    seen = await line.during(_send_while_running(move, wanted))
    await line.say(Word("arrange"))
    await line.expect("arranged")
    await point("source-arranged")
    move.stage = "state"
    times: dict[str, float] = {}
    async with _frozen(move, times) as held:
        await line.say(Word("frozen"))
        began = time.monotonic()
        await line.during(_unless_lost(held, _send_rest(move, seen)))
        await _unless_lost(held, point("source-sent"))
        prepared = await _unless_lost(held, line.expect("prepared", PATIENCE))
        times |= prepared.times
        times["transfer"] = time.monotonic() - began - sum(prepared.times.values())
        await _unless_lost(held, point("source-before-decision"))
        began = time.monotonic()
        await _whole(held.stand())
        times["decision"] = time.monotonic() - began
    # The guest is the target's now, come what may.
    await _whole(_hand_over(move, held, times))


async def _whole(work: Coroutine[Any, Any, Result]) -> Result:
    """Do it to its end, also for a caller that is cancelled meanwhile."""
    doing = asyncio.ensure_future(work)
    while not doing.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([doing])
    return doing.result()


async def _offer(move: _Move, init: int) -> Offer:
    parts, record = move.parts, move.record
    config, _ = expand.of(parts.state, record)
    directory = parts.instance_directory(record.project, record.name)
    move.addresses = {
        each.hwaddr: [address for _, address, _, scope in each.addresses if scope != "local"]
        for each in await interfaces.of(init)
        if each.hwaddr
    }
    return Offer(
        id=move.id,
        secret=move.secret,
        host=await live_host.of_this(parts),
        idmap=[(each.kind, each.inside, each.outside, each.count) for each in volume.idmap_of(config)],
        lxcfs=await asyncio.to_thread(live_host.uses_lxcfs, init),
        pieces=_offered(move.pieces),
        snapshots={name: _offered(pieces) for name, pieces in move.snapshots.items()},
        config={key: value for key, value in record.config.items() if key.startswith("volatile.")},
        addresses=move.addresses,
        files=await asyncio.to_thread(live_host.files_of, directory),
    )


def _offered(pieces: list[tuple[Piece, Path]]) -> list[PieceOffer]:
    return [PieceOffer(piece.name, piece.image) for piece, _ in pieces]


async def _send_while_running(move: _Move, wanted: list[str]) -> Seen:
    """Everything that the target lacks, then what changed meanwhile until that is little; what the last pass has seen."""
    fixed = dict([*move.pieces[:-1], *(each for pieces in move.snapshots.values() for each in pieces)])
    for piece, path in fixed.items():
        if piece.name in wanted:
            await _send_changes(move, piece, path, Seen())
    piece, path = move.pieces[-1]
    seen = Seen()
    for _ in range(_ROUNDS):
        seen, size = await _send_changes(move, piece, path, seen)
        if size <= _SMALL:
            break
        await point("source-between-rounds")
    return seen


async def _send_changes(move: _Move, piece: Piece, path: Path, before: Seen, *, last: bool = False) -> tuple[Seen, int]:
    root = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        now = await asyncio.to_thread(changes.look, root)
        changed = changes.since(before, now)
        move.total += changed.size
        # A guest that stands still is not to wait for a limit.
        limit = 0 if last else as_bytes(move.sending.pool.config.get("rsync.bwlimit") or "0")
        about = Pass(piece.name, changed.size, last)
        await send_pass(move.sending.channel.fs, about, root, changed, move.told, limit)
        return now, changed.size
    finally:
        os.close(root)


@asynccontextmanager
async def _frozen(move: _Move, times: dict[str, float]) -> AsyncIterator[Held]:
    """The guest saved and held, its images in memory. Unless the block ends well, it goes on."""
    parts, record = move.parts, move.record
    note = MoveRecord(
        id=move.id,
        secret=move.secret,
        project=record.project,
        instance=record.name,
        phase=FROZEN,
        addresses=move.addresses,
    )
    await parts.runtime.forget_hold(parts.instance_directory(record.project, record.name))
    await parts.state.put(note)
    images = stateful.images(parts, record)
    try:
        await point("source-noted")
        await parts.doors.close(
            record.project, record.name
        )  # A connection of the guest's to the outside cannot be saved.
        held = await _hold(parts, record, images)
        times |= held.times
        try:
            await _unless_lost(held, point("source-frozen"))
            yield held
        except BaseException:
            with contextlib.suppress(HutchError):
                await move.line.say(Word("abort"))
            await _whole(held.abort())
            raise
    except BaseException:
        await _whole(live_moves.stays(parts, note))
        raise


async def _hold(parts: Parts, record: InstanceRecord, images: Path) -> Held:
    async def attempt() -> Held:
        await live_host.memory(images)
        return await parts.runtime.hold(record.project, record.name, images)

    try:
        return await stateful.patiently(attempt)
    except ToolFailed as error:
        raise HutchError(f"The state of the instance cannot be saved, it goes on running: {error.stderr}") from error


async def _unless_lost(held: Held, work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work, unless the guest is held no longer meanwhile."""
    doing, lost = asyncio.ensure_future(work), asyncio.ensure_future(held.lost())
    try:
        await asyncio.wait({doing, lost}, return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            raise HutchError(f"the move was given up, the instance goes on running here: {lost.result()}")
        return doing.result()
    finally:
        for each in (doing, lost):
            each.cancel()
        await asyncio.gather(doing, lost, return_exceptions=True)


async def _send_rest(move: _Move, seen: Seen) -> None:
    """The images, and beside them what has changed on disk since the last pass."""
    images = stateful.images(move.parts, move.record)
    move.total += await asyncio.to_thread(lambda: sum(path.stat().st_size for path in images.iterdir()))
    assert move.sending.channel.criu is not None
    files = asyncio.ensure_future(send_files(move.sending.channel.criu, images, move.told))
    piece, path = move.pieces[-1]
    try:
        await _send_changes(move, piece, path, seen, last=True)
        await files
    finally:
        files.cancel()
        await asyncio.gather(files, return_exceptions=True)


async def _hand_over(move: _Move, held: Held, times: dict[str, float]) -> None:
    parts, record, line = move.parts, move.record, move.line
    await point("source-decided")
    note = parts.state.moves.get(record.project, record.name)
    coming = live_moves.expect(parts, note)
    began = time.monotonic()
    for key, value in record.config.items():
        if key.startswith("volatile.") and key.endswith(".host_name"):
            bridges.switch_off(value)
    await held.commit()
    await point("source-ended")
    times["handover"] = time.monotonic() - began
    with contextlib.suppress(Broken):
        await line.say(Word("commit"))
    await point("source-said-commit")
    await held.settle()
    await live_moves.left(parts, note)
    hearing = asyncio.create_task(_hear(line, coming, times), name=f"arrival of {record.name}")
    try:
        said = await live_moves.outcome(parts, note)
    finally:
        hearing.cancel()
    await point("source-before-conclusion")
    await live_moves.conclude(parts, parts.state.moves.get(record.project, record.name), said)
    with contextlib.suppress(Broken):
        await line.say(Word("heard"))
    if said.outcome != RUNNING:
        raise HutchError(f"The target cannot run the instance, which goes on here: {said.reason}")
    _report(move, times)


async def _hear(line: Line, coming: "asyncio.Future[MoveReport]", times: dict[str, float]) -> None:
    with contextlib.suppress(HutchError):
        word = await line.expect(RUNNING, PATIENCE)
        times |= word.times
        if not coming.done():
            coming.set_result(MoveReport(outcome=RUNNING))


def _report(move: _Move, times: dict[str, float]) -> None:
    pause = {name: round(seconds, 3) for name, seconds in times.items()}
    move.sending.operation.update(pause=pause | {"total": round(sum(times.values()), 3)}, sent=move.sent)
