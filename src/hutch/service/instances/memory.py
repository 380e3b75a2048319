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
from hutch.service.parts import Parts

_HALF = "state.new"


def of(parts: Parts, record: SnapshotRecord) -> Path:
    """Where the memory of a stateful snapshot is."""
    return _all(parts, record.project, record.instance) / record.name


def _all(parts: Parts, project: str, name: str) -> Path:
    return parts.instance_directory(project, name) / "states"


@asynccontextmanager
async def held(parts: Parts, record: InstanceRecord, folder: Path) -> AsyncIterator[None]:
    """The running guest stands still while the block lasts, its state in `folder` (made anew, on the same filesystem as it is in
    the instance's own folder); after that it goes on, with its connections."""
    project, name = record.project, record.name
    await parts.doors.close(project, name)  # A connection of the guest's to the outside cannot be saved.
    try:
        found = await _held(parts, record, folder)
        try:
            yield
        finally:
            await asyncio.shield(asyncio.ensure_future(found.abort()))
    finally:
        if parts.runtime.running(project, name) is not None:
            await launch.guest_folder(parts, record, expand.of(parts.state, record)[0])


async def _held(parts: Parts, record: InstanceRecord, folder: Path) -> Held:
    async def attempt() -> Held:
        await stateful.fresh(folder)
        return await parts.runtime.hold(record.project, record.name, folder)

    try:
        return await stateful.patiently(attempt)
    except ToolFailed as error:
        await tree.remove(folder)
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
        await tree.remove(path)


def _left(parts: Parts, record: InstanceRecord, known: set[str]) -> list[Path]:
    folder, half = (
        _all(parts, record.project, record.name),
        parts.instance_directory(record.project, record.name) / _HALF,
    )
    kept = list(folder.iterdir()) if folder.exists() else []
    return [path for path in kept if path.name not in known] + ([half] if half.exists() else [])
