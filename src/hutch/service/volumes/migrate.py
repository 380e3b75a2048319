"""Custom volumes sent to and received from other servers, in LXD's protocol: snapshots from the oldest on, then the volume."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from msgspec.structs import replace

from hutch.errors import Invalid
from hutch.kernel import tree
from hutch.kernel.credentials import root_of
from hutch.kernel.idmap import IdMap
from hutch.kernel.mount import closing
from hutch.schema.base import Config
from hutch.schema.migration import Header, Index, SnapshotMessage
from hutch.schema.storage import VolumeMove, VolumePost, VolumeRecord, VolumeSnapshotRecord
from hutch.service import allow, pools
from hutch.service.instances.volume import doomed, making, remove
from hutch.service.migration import channel, connect, negotiate, rsync, shifted, stage
from hutch.service.migration import snapshots as messages
from hutch.service.migration.channel import Channel
from hutch.service.parts import Parts
from hutch.service.volumes import create, quiet, render, settings, snapshots, uses
from hutch.storage.base import Volume
from hutch.work.operations import Operation

_IDMAP = "volatile.idmap.last"


def send(parts: Parts, record: VolumeRecord, wanted: VolumeMove) -> Operation:
    """Begin to send a volume: to the target that is named, or to who connects."""
    target = wanted.target if wanted.target is not None and wanted.target.operation else None
    operation = parts.operations.start(
        "Migrating storage volume",
        None,
        kind="websocket" if target is None else "task",
        project=record.project,
        resources=render.resources(record),
        may_cancel=True,
    )
    secrets = channel.secrets(operation, live=False) if target is None else {}

    async def work(operation: Operation) -> None:
        lock = settings.lock(record.pool, record.project, record.name)
        async with (
            connect.line(parts, operation, secrets, target, live=False) as line,
            line.telling(),
            parts.locks.hold(lock),
        ):
            current = parts.state.volumes.get(record.pool, record.project, record.name)
            async with _at_rest(parts, current) as root:
                await _send(parts, operation, line, current, root, wanted)
                await line.outcome()

    operation.run(work)
    return operation


async def _send(
    parts: Parts, operation: Operation, line: Channel, record: VolumeRecord, root: Volume, wanted: VolumeMove
) -> None:
    driver = pools.running(parts, record.pool)
    history = [] if wanted.volume_only else _by_date(snapshots.of(parts, record))
    offered = negotiate.offer(driver, [], live=0)
    offered.snapshots = [_message(each) for each in history]
    offered.snapshot_names = [each.name for each in history]
    await line.send(offered)
    answered = await line.receive(Header)
    features = negotiate.taken(answered, offered)
    await line.unless_told(negotiate.send_index(line.fs, answered.index_version or 0, Index()))
    asked = [each for each in history if not answered.refresh or each.name in answered.snapshot_names]
    for sent, label in [*((settings.of(each), each.name) for each in asked), (root, record.name)]:
        told = rsync.Teller(operation, label)
        async with stage.folder(parts) as folder:
            with closing(await driver.mount(sent, settings.AS_STORED, readonly=True)) as opened:
                await line.unless_told(rsync.send(line.fs, folder, opened, features, told, whole=True))
        told.settle()


@asynccontextmanager
async def _at_rest(parts: Parts, record: VolumeRecord) -> AsyncIterator[Volume]:
    """The volume as it is now while the block lasts: where running guests have it, a snapshot, which a crash does not leave."""
    if not uses.running(parts, record):
        yield settings.of(record)
        return
    driver = pools.running(parts, record.pool)
    kept = settings.of(record).at(f".{uuid4().hex}")
    begun = doomed(driver, kept)
    await parts.state.put(begun)
    try:
        await quiet.quietly(parts, record, lambda: driver.snapshot(settings.of(record), kept.snapshot))
        yield kept
    finally:
        await asyncio.shield(remove(parts, driver, begun))


def _unshifted(config: Config) -> Config:
    """Without the maps of an LXD: here volumes are stored unshifted."""
    return {key: value for key, value in config.items() if not key.startswith("volatile.idmap.")}


def _by_date(history: list[VolumeSnapshotRecord]) -> list[VolumeSnapshotRecord]:
    return sorted(history, key=lambda each: (each.created_at, each.name))


def _message(record: VolumeSnapshotRecord) -> SnapshotMessage:
    return SnapshotMessage(
        name=record.name,
        ephemeral=False,
        architecture=0,
        stateful=False,
        config=messages.settings(record.config),
        created=messages.seconds(record.created_at),
        expires=messages.seconds(record.expires_at),
        created_us=messages.microseconds(record.created_at),
    )


def receive(parts: Parts, record: VolumeRecord, wanted: VolumePost) -> Operation:
    """Begin to receive the volume `record`: from the source's operation (mode pull), or from who connects (mode push)."""
    source = wanted.source
    idmap = shifted.noted(record.config.get(_IDMAP, ""))
    record = replace(record, config=_unshifted(record.config))
    if source.mode not in ("pull", "push"):
        raise Invalid(f"Unknown mode {source.mode!r} of a migration: pull and push are known")
    pools.running(parts, record.pool)
    existing = parts.state.volumes.find(record.pool, record.project, record.name) if source.refresh else None
    if existing is not None and (using := uses.running(parts, existing)):
        raise Invalid(f"Cannot refresh a volume used by running instances: {', '.join(each.name for each in using)}")
    if existing is None:
        settings.check_free(parts, record.pool, record.project, record.name)
        allow.volume(parts, record)
    operation = parts.operations.start(
        "Creating storage volume",
        None,
        kind="websocket" if source.mode == "push" else "task",
        project=record.project,
        resources=render.resources(record),
        may_cancel=True,
    )
    expected = channel.secrets(operation, live=False) if source.mode == "push" else {}
    target = connect.named(source.operation, source.secrets, source.certificate) if source.mode == "pull" else None

    async def work(operation: Operation) -> None:
        async with connect.line(parts, operation, expected, target, live=False) as line:
            async with line.telling(), parts.locks.hold(settings.lock(record.pool, record.project, record.name)):
                receiving = _Receiving(parts, operation, line, record, idmap, only=source.volume_only)
                await (receiving.refresh() if existing is not None else receiving.create())
            await line.tell(None)

    operation.run(work)
    return operation


class _Receiving:
    def __init__(
        self,
        parts: Parts,
        operation: Operation,
        line: Channel,
        record: VolumeRecord,
        idmap: list[IdMap],
        *,
        only: bool,
    ) -> None:
        self.idmap = idmap
        self.parts, self.operation, self.line, self.record, self.only = parts, operation, line, record, only
        self.driver = pools.running(parts, record.pool)

    async def create(self) -> None:
        settings.check_free(self.parts, self.record.pool, self.record.project, self.record.name)
        place = settings.of(self.record)
        async with making(self.parts, self.driver, place) as begun:
            history = await self._agree(refresh=False)
            await self.driver.create_volume(place)
            await settings.limit(self.driver, self.record)
            for each in history:
                await self._take(each.name)
                await self.driver.snapshot(place, each.name)
            await self._take()
            await create.commit(self.parts, self.record, begun, *history)
        where = render.url(self.record.pool, self.record.project, "custom", self.record.name)
        self.parts.events.lifecycle("storage-volume-created", where, self.record.project)

    async def refresh(self) -> None:
        """Snapshots that the source has not any more go, missing ones come, then the volume itself."""
        current = self.parts.state.volumes.get(self.record.pool, self.record.project, self.record.name)
        before = snapshots.of(self.parts, current)
        coming = await self._agree(refresh=True)
        offered, new = ({each.name for each in some} for some in (self.offered.snapshots, coming))
        for each in [] if self.only else before:
            if each.name not in offered or each.name in new:
                await snapshots.delete_held(self.parts, each)
        for each in coming:
            async with making(self.parts, self.driver, settings.of(each)) as begun:
                await self._take(each.name)
                await self.driver.snapshot(settings.of(self.record), each.name)
                async with self.parts.state.change() as transaction:
                    transaction.put(each)
                    transaction.delete(begun)
        await self._take()

    async def _agree(self, *, refresh: bool) -> list[VolumeSnapshotRecord]:
        self.offered = await self.line.receive(Header)
        answered = negotiate.answer(self.offered, self.driver, live=0, refresh=refresh)
        answered.snapshots = [
            each for each in self.offered.snapshots if not self.only and not (refresh and self._has(each))
        ]
        answered.snapshot_names = [each.name for each in answered.snapshots]
        await self.line.send(answered)
        assert answered.rsync is not None
        self.features = answered.rsync
        receiving = negotiate.receive_index(self.line.fs, answered.index_version or 0, refresh=refresh)
        self.index = await self.line.unless_told(receiving)
        return [self._snapshot(each) for each in answered.snapshots]

    def _has(self, sent: SnapshotMessage) -> bool:
        kept = self.parts.state.volume_snapshots.find(
            self.record.pool, self.record.project, self.record.name, sent.name
        )
        return kept is not None and messages.seconds(kept.created_at) == sent.created

    def _snapshot(self, sent: SnapshotMessage) -> VolumeSnapshotRecord:
        return VolumeSnapshotRecord(
            pool=self.record.pool,
            project=self.record.project,
            volume=self.record.name,
            name=sent.name,
            config=_unshifted({each.key: each.value for each in sent.config} or self.record.config),
            content_type=self.record.content_type,
            created_at=messages.moment(sent.created, sent.created_us),
            expires_at=messages.moment(sent.expires),
        )

    def _idmap(self, snapshot: str) -> list[IdMap]:
        """How the ids that come now are to be read: an LXD tells in the index what it noted of the volume and each snapshot."""
        known = self.index.config
        if known is None or known.volume is None:
            return [] if snapshot else self.idmap
        described = [each for each in known.volume_snapshots or [] if each.name.rpartition("/")[2] == snapshot]
        config = (described[0] if described else known.volume).config
        return shifted.noted((config or {}).get(_IDMAP, ""))

    async def _take(self, snapshot: str = "") -> None:
        idmap, label = self._idmap(snapshot), snapshot or self.record.name
        told = rsync.Teller(self.operation, label)
        async with stage.folder(self.parts) as folder:
            with closing(await self.driver.mount(settings.of(self.record), idmap)) as root:
                owner = root_of(idmap)
                taking = rsync.receive(self.line.fs, folder, root, self.features, told, owner, whole=True)
                await self.line.unless_told(taking)
            with closing(await self.driver.mount(settings.of(self.record), settings.AS_STORED)) as root:
                await asyncio.to_thread(tree.sync_all, Path(f"/proc/self/fd/{root}"))
        told.settle()
