"""The memory that belongs to stateful snapshots, and what else is done with a guest that is held for a moment.

DIR/instances/PROJECT/NAME/states/SNAPSHOT holds the same files as the state of a stateful stop.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hutch.errors import Conflict, HutchError, ToolFailed
from hutch.kernel import tree
from hutch.runtime.base import Held
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.service.instances import expand, launch, stateful
from hutch.service.migration import live_host
from hutch.service.parts import Parts

_HALF, _TRIAL = "state.new", "trial"

Fresh = Callable[[Path], Awaitable[None]]


def of(parts: Parts, record: SnapshotRecord) -> Path:
    """Where the memory of a stateful snapshot is."""
    return _all(parts, record.project, record.instance) / record.name


def _all(parts: Parts, project: str, name: str) -> Path:
    return parts.instance_directory(project, name) / "states"


@asynccontextmanager
async def held(
    parts: Parts, record: InstanceRecord, folder: Path, fresh: Fresh = stateful.fresh
) -> AsyncIterator[None]:
    """The running guest stands still while the block lasts; after that it goes on, with its connections.

    Its state is in `folder`, which is one in the instance's own folder and is made empty by `fresh`.
    """
    project, name = record.project, record.name
    await parts.doors.close(project, name)  # A connection of the guest's to the outside cannot be saved.
    try:
        found = await _held(parts, record, folder, fresh)
        try:
            yield
        finally:
            await asyncio.shield(asyncio.ensure_future(found.abort()))
    finally:
        if parts.runtime.running(project, name) is not None:
            await launch.guest_folder(parts, record, expand.of(parts.state, record)[0])


async def _held(parts: Parts, record: InstanceRecord, folder: Path, fresh: Fresh) -> Held:
    async def attempt() -> Held:
        await fresh(folder)
        return await parts.runtime.hold(record.project, record.name, folder)

    try:
        return await stateful.patiently(attempt)
    except ToolFailed as error:
        await tree.drop(folder)
        raise HutchError(f"The state of the instance cannot be saved, it goes on running: {error.stderr}") from error


async def take(parts: Parts, record: InstanceRecord, kept: SnapshotRecord, disk: Callable[[], Awaitable[None]]) -> None:
    """Keep the running guest's memory for a snapshot, and at that very moment its disk; the guest goes on."""
    half = parts.instance_directory(record.project, record.name) / _HALF
    try:
        async with held(parts, record, half):
            await disk()
        await asyncio.to_thread(_put, half, of(parts, kept))
    finally:
        await tree.remove(half)


async def rehearse(parts: Parts, record: InstanceRecord) -> tuple[float, int]:
    """Save the running guest's state in memory and drop it: for how many seconds it stood still, and the bytes it took."""
    folder = parts.instance_directory(record.project, record.name) / _TRIAL

    async def save() -> None:
        async with held(parts, record, folder, live_host.memory):
            pass

    try:
        pause = await parts.runtime.standstill(record.project, record.name, save())
        return pause, await asyncio.to_thread(_size, folder)
    finally:
        await tree.drop(folder)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _put(half: Path, target: Path) -> None:
    tree.sync_all(half)
    target.parent.mkdir(mode=0o700, exist_ok=True)
    half.replace(target)


async def bring(parts: Parts, record: InstanceRecord, kept: SnapshotRecord) -> None:
    """Make the memory of a snapshot the state that the stopped instance goes on from."""
    half = parts.instance_directory(record.project, record.name) / _HALF
    await tree.remove(half)
    await tree.copy(of(parts, kept), half)
    await tree.drop(stateful.images(parts, record))
    await asyncio.to_thread(half.replace, stateful.images(parts, record))


def check(parts: Parts, kept: SnapshotRecord) -> None:
    """Refuse to go back to the memory of a snapshot that has none. Blocks."""
    if not kept.stateful:
        raise Conflict("Stateful snapshot restore requested but snapshot is stateless")
    if not parts.runtime.saved(of(parts, kept)):
        raise Conflict(f"The memory of the snapshot {kept.name!r} is not there: restore it without --stateful")


async def remove(parts: Parts, kept: SnapshotRecord) -> None:
    """The snapshot goes, or its memory."""
    await tree.remove(of(parts, kept))


def rename(parts: Parts, kept: SnapshotRecord, new: str) -> None:
    """The snapshot gets another name; nothing happens when it has no memory. Blocks."""
    if (source := of(parts, kept)).exists():
        source.replace(source.parent / new)


async def tidy(parts: Parts, record: InstanceRecord) -> None:
    """Remove what a crash left, and finish a renaming that was taken back or not told of."""
    known = {each.name for each in parts.state.snapshots.all(record.project, record.name) if each.stateful}
    for path in await asyncio.to_thread(_left, parts, record, known):
        await tree.drop(path)


def _left(parts: Parts, record: InstanceRecord, known: set[str]) -> list[Path]:
    folder, half = (
        _all(parts, record.project, record.name),
        parts.instance_directory(record.project, record.name) / _HALF,
    )
    kept = list(folder.iterdir()) if folder.exists() else []
    return [path for path in kept if path.name not in known] + ([half] if half.exists() else [])
