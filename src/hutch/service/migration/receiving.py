"""A migration as its sink does it, step by step."""

from hutch.errors import NotFound
from hutch.kernel.credentials import root_of
from hutch.kernel.mount import closing
from hutch.schema.instance import InstanceRecord, SnapshotRecord, Source
from hutch.schema.migration import Header, SnapshotMessage
from hutch.service import images
from hutch.service.instances import make, volume
from hutch.service.migration import negotiate, rsync, shifted, snapshots, stage, streams
from hutch.service.migration.channel import Channel
from hutch.service.parts import Parts
from hutch.storage.base import StorageDriver, Volume
from hutch.work.operations import Operation


class Receiving:
    """`record` is the instance to be; `pool` holds its root. `offered` and `answered` are the two headers, after `agree`."""

    offered: Header
    answered: Header

    def __init__(
        self,
        parts: Parts,
        operation: Operation,
        channel: Channel,
        record: InstanceRecord,
        pool: StorageDriver,
        source: Source,
    ) -> None:
        self.parts, self.operation, self.channel = parts, operation, channel
        self.record, self.pool, self.source = record, pool, source

    @property
    def only(self) -> bool:
        """Whether the instance comes without its snapshots."""
        return self.source.instance_only or self.source.container_only

    async def agree(self, *, live: int = 0, refresh: bool = False) -> list[SnapshotRecord]:
        """Take the offer; the snapshots that will come, in their order.

        With `refresh` those that are here already, of the same moment, are not asked for.
        """
        self.offered = await self.channel.receive(Header)
        self.answered = negotiate.answer(self.offered, self.pool, live=live, refresh=refresh)
        if self.only:
            self.answered.snapshots = []
        elif refresh:
            self.answered.snapshots = [each for each in self.offered.snapshots if not self._has(each)]
        held = await self._held(self.offered) if refresh else []
        if negotiate.streams(self.offered, self.pool, held, live=live, refresh=refresh):
            self.answered.stream, self.answered.parents = self.pool.stream, held
        self.answered.snapshot_names = [each.name for each in self.answered.snapshots]
        await self.channel.send(self.answered)
        version = self.answered.index_version or 0
        receiving = negotiate.receive_index(self.channel.fs, version, refresh=refresh)
        self.index = await self.channel.unless_told(receiving)
        return [snapshots.record(self.parts, each, self.record, self.pool.name) for each in self.answered.snapshots]

    async def _held(self, offered: Header) -> list[str]:
        """The snapshots here that a stream of the source may build on."""
        found = []
        for each in offered.snapshots if self.pool.stream else []:
            here = volume.of(self.record).at(each.name)
            if self._has(each) and each.stream_id == await self.pool.stream_identity(here):
                found.append(each.name)
        return found

    def _has(self, sent: SnapshotMessage) -> bool:
        kept = self.parts.state.snapshots.find(self.record.project, self.record.name, sent.name)
        return kept is not None and snapshots.same_moment(sent, kept)

    async def create_root(self, size: int) -> None:
        """The volume that `receive` fills, limited to `size` bytes unless that is 0.

        It begins as the image that the source was made from, where this server has it: then only differences travel.
        """
        parts, fingerprint = self.parts, self.source.base_image
        try:
            image = images.find(parts, self.record.project, fingerprint) if fingerprint else None
        except NotFound:
            image = None
        if self.answered.stream:
            image = None
        if image is not None:
            await images.ensure_tree(parts, self.pool, image, self.operation)
        await self.pool.create_volume(volume.of(self.record), image=image.fingerprint if image else None)
        if size:
            await volume.limit(self.pool, volume.of(self.record), size)

    async def receive(self) -> None:
        """Make the root volume, which must be there, what the source sends now, and keep what comes beside it; durable on return."""
        if self.answered.stream:
            await self._receive_stream(volume.of(self.record))
            await stage.keep(self.index.files, await make.directory(self.parts, self.record))
            await volume.settle(self.pool, volume.of(self.record))
        else:
            await self._receive_files("")

    async def receive_snapshot(self, name: str) -> None:
        """Make the snapshot of what the source sends now; the root volume holds it as well, or something older."""
        if self.answered.stream:
            await self._receive_stream(volume.of(self.record).at(name))
        else:
            await self._receive_files(name)
            await self.pool.snapshot(volume.of(self.record), name)

    async def _receive_stream(self, target: Volume) -> None:
        told = rsync.Teller(self.operation, target.snapshot or target.name)
        await self.channel.unless_told(self.pool.receive(target, streams.receive(self.channel.fs, told)))
        told.settle()

    async def _receive_files(self, snapshot: str) -> None:
        async with stage.folder(self.parts) as folder:
            idmap = shifted.idmap(self.offered, snapshot)
            with closing(await self.pool.mount(volume.of(self.record), idmap)) as root:
                told = rsync.Teller(self.operation, snapshot or self.record.name)
                features = self.answered.rsync
                assert features is not None
                await self.channel.unless_told(
                    rsync.receive(self.channel.fs, folder, root, features, told, root_of(idmap))
                )
            told.settle()
            await volume.settle(self.pool, volume.of(self.record))
            if not snapshot:
                await stage.take(folder, await make.directory(self.parts, self.record))
