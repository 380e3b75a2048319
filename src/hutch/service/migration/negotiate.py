"""What a source offers and what a sink takes of it (MigrationHeader), and the index frame that goes before the data."""

import msgspec

from hutch.errors import HutchError, Unavailable, Unsupported
from hutch.schema.base import decode, encode
from hutch.schema.instance import SnapshotRecord
from hutch.schema.keys.base import as_bool
from hutch.schema.migration import Criu, FileSystem, Header, Index, RsyncFeatures
from hutch.service.migration import snapshots
from hutch.storage.base import StorageDriver
from hutch.work.operations import Socket

INDEX_VERSION = 1
_LXD_3_7 = RsyncFeatures(xattrs=True, delete=True, compress=True)
"""What a side that does not know `bidirectional` takes, whatever it says."""


class IndexAnswer(msgspec.Struct, kw_only=True, rename="pascal"):
    """How a sink answers the index frame; the names are Go's."""

    status_code: int = 200
    error: str = ""
    refresh: bool | None = None


def rsync_features(pool: StorageDriver) -> RsyncFeatures:
    """Compression is for pools that ask for it: on most networks zlib is the slower of the two."""
    compress = as_bool(pool.config.get("rsync.compression", "false"))
    return RsyncFeatures(xattrs=True, delete=True, compress=compress, bidirectional=True, links=True)


def offer(pool: StorageDriver, history: list[SnapshotRecord], *, live: int) -> Header:
    """`live` is the version of the own way of moving running guests, 0 when the guest's state stays here."""
    return Header(
        fs=FileSystem.RSYNC,
        criu=Criu.RSYNC if live else None,
        snapshot_names=[each.name for each in history],
        snapshots=[snapshots.message(each) for each in history],
        predump=False,
        rsync=rsync_features(pool),
        index_version=INDEX_VERSION,
        live=live or None,
    )


def answer(offered: Header, pool: StorageDriver, *, live: int, refresh: bool) -> Header:
    """What this sink takes of an offer; Unsupported when that is nothing."""
    if offered.volume_size or offered.fs == FileSystem.BLOCK_AND_RSYNC:
        raise Unsupported("virtual machines cannot be moved here: this server runs containers")
    if offered.criu in (Criu.RSYNC, Criu.PHAUL) and (not live or offered.live != live):
        raise Unsupported(
            "the source wants to move a running guest in a way that this server does not know: "
            "stop the instance first, or copy it with --stateless"
        )
    return Header(
        fs=FileSystem.RSYNC,
        criu=offered.criu,
        snapshot_names=offered.snapshot_names,
        snapshots=offered.snapshots,
        predump=False,
        rsync=common(offered.rsync, rsync_features(pool)),
        refresh=refresh,
        index_version=min(offered.index_version or 0, INDEX_VERSION) or None,
        live=offered.live,
    )


def common(theirs: RsyncFeatures | None, ours: RsyncFeatures) -> RsyncFeatures:
    """What both sides can; each member is set."""
    theirs = theirs or RsyncFeatures()
    return RsyncFeatures(**{name: bool(getattr(theirs, name) and getattr(ours, name)) for name in ours.numbers})


def taken(answered: Header, offered: Header) -> RsyncFeatures:
    """The features that the source uses, once the sink has answered. Unsupported when it wants what was not offered."""
    if answered.fs != FileSystem.RSYNC:
        raise Unsupported(f"the other server wants the files in a form that was not offered ({answered.fs})")
    if answered.rsync is None or not answered.rsync.bidirectional:
        return _LXD_3_7
    return common(answered.rsync, offered.rsync or RsyncFeatures())


def streams(offered: Header, pool: StorageDriver, held: list[str], *, live: int, refresh: bool) -> bool:
    """Whether volumes come as streams of the pools' own: a refresh only where one can build on a snapshot that is `held`."""
    return bool(pool.stream) and offered.stream == pool.stream and not live and (bool(held) or not refresh)


async def send_index(fs: Socket, version: int, index: Index) -> None:
    """The frame before the data."""
    if not version:
        return
    await fs.send(encode(index))
    await fs.send("")
    reply = decode(await _frame(fs), IndexAnswer)
    if reply.status_code != 200:
        raise HutchError(f"the other server says: {reply.error or reply.status_code}")


async def receive_index(fs: Socket, version: int, *, refresh: bool) -> Index:
    if not version:
        return Index()
    found = decode(await _frame(fs), Index)
    await fs.send(encode(IndexAnswer(refresh=refresh)))
    await fs.send("")
    return found


async def _frame(fs: Socket) -> bytes:
    data = b""
    while (part := await fs.receive()) != "":
        if not isinstance(part, bytes) or len(data) > 16 << 20:
            raise Unavailable("the other server went away before the transfer began")
        data += part
    return data
