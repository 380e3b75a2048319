"""A migration as its source does it, step by step."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from hutch.kernel.mount import closing
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.keys.base import as_bytes
from hutch.schema.migration import Header, Index, MovePost
from hutch.service.instances import snapshot, volume
from hutch.service.migration import negotiate, rsync, stage, streams
from hutch.service.migration.channel import Channel
from hutch.service.parts import Parts, instance_lock
from hutch.storage.base import Volume
from hutch.work.operations import Operation


class Sending:
    """`record` is the instance; `offered` and `answered` are the two headers, once `agree` has exchanged them."""

    offered: Header
    answered: Header

    def __init__(
        self, parts: Parts, operation: Operation, channel: Channel, record: InstanceRecord, wanted: MovePost
    ) -> None:
        self.parts, self.operation, self.channel, self.record, self.wanted = parts, operation, channel, record, wanted
        self.pool = volume.pool_of(parts, record)

    async def agree(self, history: list[SnapshotRecord], *, live: int = 0) -> list[SnapshotRecord]:
        """Exchange the headers and the index frame; the snapshots of `history` that the sink asks for."""
        self.offered = negotiate.offer(self.pool, history, live=live)
        if not live:
            await self._offer_streams(history)
        await self.channel.send(self.offered)
        self.answered = await self.channel.receive(Header)
        self.features = negotiate.taken(self.answered, self.offered)
        directory = self.parts.instance_directory(self.record.project, self.record.name)
        index = Index(files=await stage.files(directory) if self.answered.stream else {})
        await self.channel.unless_told(negotiate.send_index(self.channel.fs, self.answered.index_version or 0, index))
        self.parents = [each for each in history if each.name in self.answered.parents]
        if not self.answered.refresh:
            return history
        return [each for each in history if each.name in self.answered.snapshot_names]

    async def _offer_streams(self, history: list[SnapshotRecord]) -> None:
        """Streams are offered when everything can be sent so."""
        if not self.pool.stream or not await self.pool.stream_identity(volume.of(self.record)):
            return
        for each, message in zip(history, self.offered.snapshots, strict=True):
            message.stream_id = await self.pool.stream_identity(volume.of(each))
        if all(each.stream_id for each in self.offered.snapshots):
            self.offered.stream = self.pool.stream

    async def send(self, sent: Volume, label: str = "") -> None:
        """Send what a volume, or a snapshot, holds now; the sink's `receive` is its counterpart."""
        if self.answered.stream:
            await self._send_stream(sent, label)
        else:
            await self._send_files(sent, label)

    async def _send_stream(self, sent: Volume, label: str) -> None:
        parent = volume.of(self.parents[-1]) if self.parents else None
        told = rsync.Teller(self.operation, label or sent.snapshot or sent.name)
        async with AsyncExitStack() as stack:
            if not sent.snapshot:
                moment = snapshot.moment_held(self.parts, self.record, apart=True)
                sent = await stack.enter_async_context(moment)
            reader = await stack.enter_async_context(self.pool.send(sent, parent))
            await self.channel.unless_told(streams.send(self.channel.fs, reader, told))
        told.settle()
        if kept := self.parts.state.snapshots.find(self.record.project, self.record.name, sent.snapshot):
            self.parents.append(kept)

    async def _send_files(self, sent: Volume, label: str) -> None:
        directory = self.parts.instance_directory(self.record.project, self.record.name)
        limit = as_bytes(self.pool.config.get("rsync.bwlimit") or "0")
        told = rsync.Teller(self.operation, label or sent.snapshot or sent.name)
        async with stage.folder(self.parts, directory) as folder:
            with closing(await self.pool.mount(sent, [], readonly=True)) as root:
                sending = rsync.send(
                    self.channel.fs,
                    folder,
                    root,
                    self.features,
                    told,
                    limit=limit,
                    loose=self.wanted.allow_inconsistent,
                )
                await self.channel.unless_told(sending)
        told.settle()


@asynccontextmanager
async def at_rest(parts: Parts, record: InstanceRecord) -> AsyncIterator[Volume]:
    """The root volume as it is now while the block lasts: nobody uses a stopped instance meanwhile, a running one goes on."""
    async with AsyncExitStack() as stack:
        lock = parts.locks.hold(instance_lock(record.project, record.name))
        if parts.runtime.running(record.project, record.name) is None:
            await stack.enter_async_context(lock)
            yield await stack.enter_async_context(snapshot.moment_held(parts, record))
            return
        async with lock:
            root = await stack.enter_async_context(snapshot.moment_held(parts, record))
        yield root
