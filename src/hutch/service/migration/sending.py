"""A migration as its source does it, step by step."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from hutch.kernel.mount import closing
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.keys.base import as_bytes
from hutch.schema.migration import Header, MovePost
from hutch.service.instances import snapshot, volume
from hutch.service.migration import negotiate, rsync, stage
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
        await self.channel.send(self.offered)
        self.answered = await self.channel.receive(Header)
        self.features = negotiate.taken(self.answered, self.offered)
        await self.channel.unless_told(negotiate.send_index(self.channel.fs, self.answered.index_version or 0))
        if not self.answered.refresh:
            return history
        return [each for each in history if each.name in self.answered.snapshot_names]

    async def send(self, sent: Volume, label: str = "") -> None:
        """Send what a volume, or a snapshot, holds now; the sink's `receive` is its counterpart."""
        directory = self.parts.instance_directory(self.record.project, self.record.name)
        limit = as_bytes(self.pool.config.get("rsync.bwlimit") or "0")
        async with stage.folder(self.parts, directory) as folder:
            with closing(await self.pool.mount(sent, [], readonly=True)) as root:
                sending = rsync.send(
                    self.channel.fs,
                    folder,
                    root,
                    self.features,
                    rsync.teller(self.operation, label or sent.snapshot or sent.name),
                    limit=limit,
                    loose=self.wanted.allow_inconsistent,
                )
                await self.channel.unless_told(sending)


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
