"""The root volume of an instance, and the record that keeps a crash from leaving half a volume behind."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from hutch.device import idmaps
from hutch.errors import Invalid, NotFound, Unsupported
from hutch.kernel import mount, tree
from hutch.kernel.idmap import IdMap
from hutch.schema.base import Config, Devices
from hutch.schema.doomed import DoomedRecord
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.keys.base import as_bytes
from hutch.service.instances import expand
from hutch.service.parts import Parts
from hutch.storage import transfer
from hutch.storage.base import StorageDriver, Volume

log = logging.getLogger(__name__)


def of(record: InstanceRecord | SnapshotRecord) -> Volume:
    """The root volume of an instance, or the snapshot of it that belongs to an instance's snapshot."""
    if isinstance(record, SnapshotRecord):
        return Volume("container", record.project, record.instance, record.name)
    return Volume("container", record.project, record.name)


def pool_name(devices: Devices) -> str:
    root = expand.root_disk(devices)
    if root is None:
        raise Invalid(
            "No root device could be found: add a disk with path=/ and pool=POOL to the instance or a profile"
        )
    return root[1].get("pool", "")


def pool(parts: Parts, devices: Devices) -> StorageDriver:
    """The pool that the root disk names; NotFound when it does not exist."""
    name = pool_name(devices)
    if (driver := parts.pools.get(name)) is None:
        raise NotFound(f"Storage pool {name!r} not found")
    return driver


def pool_of(parts: Parts, record: InstanceRecord | SnapshotRecord) -> StorageDriver:
    return pool(parts, expand.of(parts.state, record)[1])


def on_pool(own: Devices, whole: Devices, pool: str) -> Devices:
    """The devices `own`, of which `whole` is what comes of them with the profiles, with the root disk on the pool."""
    root = expand.root_disk(whole)
    if root is None or root[1].get("pool") == pool:
        return own
    return own | {root[0]: root[1] | {"pool": pool}}


async def copy(
    source_pool: StorageDriver, source: Volume, pool: StorageDriver, target: Volume, snapshots: Sequence[str]
) -> None:
    """A volume on `pool` with what `source` holds, and the named snapshots, the oldest first."""
    if source_pool.name == pool.name:
        await pool.copy(source, target, snapshots=snapshots)
    else:
        await transfer.copy(source_pool, source, pool, target, snapshots)


async def settle(pool: StorageDriver, volume: Volume) -> None:
    """Make what a volume holds durable: what it was copied from may go then."""
    with mount.closing(await pool.mount(volume, [])) as root:
        await asyncio.to_thread(tree.sync_all, Path(f"/proc/self/fd/{root}"))


def size(devices: Devices) -> int:
    """The bytes that the root disk may hold, 0 for no limit."""
    root = expand.root_disk(devices)
    return as_bytes(root[1]["size"]) if root and root[1].get("size") else 0


async def limit(pool: StorageDriver, volume: Volume, size: int) -> None:
    """Hold a root volume to its size. As with LXD, a filesystem that cannot is worth a warning, not a failure."""
    try:
        await pool.set_quota(volume, size)
    except Unsupported as error:
        log.warning("the size of %s is not limited: %s", volume.name, error)


def doomed(pool: StorageDriver, volume: Volume, renamed_from: str = "") -> DoomedRecord:
    return DoomedRecord(
        pool=pool.name,
        type=volume.type,
        project=volume.project,
        name=volume.name,
        snapshot=volume.snapshot,
        renamed_from=renamed_from,
    )


@asynccontextmanager
async def making(parts: Parts, pool: StorageDriver, volume: Volume) -> AsyncIterator[DoomedRecord]:
    """Written down as doomed while the block makes the volume. The block's last commit deletes the record it is given;
    if the block fails, the volume goes."""
    record = doomed(pool, volume)
    await parts.state.put(record)
    try:
        yield record
    except BaseException:
        await asyncio.shield(remove(parts, pool, record))
        raise


async def remove(parts: Parts, pool: StorageDriver, record: DoomedRecord) -> None:
    """Delete a doomed volume, and with an instance's the folder of one that does not exist; then its record."""
    await pool.delete(Volume(record.type, record.project, record.name, record.snapshot))
    if record.type == "container" and not record.snapshot:
        await _clear(parts, record.project, record.name)
    if parts.state.doomed.find(record.pool, record.type, record.project, record.name, record.snapshot or "-"):
        await parts.state.delete(record)


async def _clear(parts: Parts, project: str, name: str) -> None:
    if parts.state.instances.find(project, name) is None:
        directory = parts.instance_directory(project, name)
        await asyncio.to_thread(mount.detach, directory / "rootfs")
        await tree.remove(directory)


@asynccontextmanager
async def root(
    parts: Parts, record: InstanceRecord | SnapshotRecord, idmap: list[IdMap], *, readonly: bool = False
) -> AsyncIterator[int]:
    """The root as a descriptor for work on its files: of the running guest's own root, or of a mount for the while."""
    running = parts.runtime.running(record.project, record.name) if isinstance(record, InstanceRecord) else None
    if running is not None and not readonly:
        fd = os.open(f"/proc/{running.init}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        fd = await pool_of(parts, record).mount(of(record), idmap, readonly=readonly)
    try:
        yield fd
    finally:
        os.close(fd)


def idmap_of(config: Config) -> list[IdMap]:
    """The id map that the expanded config asks for; empty for a privileged guest."""
    return idmaps.of(config)
