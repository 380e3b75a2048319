"""Make a custom volume: empty, or from another one or a snapshot of it, on the same pool or another."""

from msgspec.structs import replace

from hutch.access.projects import Kind, home
from hutch.errors import Invalid, Unsupported
from hutch.schema.base import now, strings
from hutch.schema.doomed import DoomedRecord
from hutch.schema.keys.base import as_bytes
from hutch.schema.storage import VolumePost, VolumeRecord, VolumeSnapshotRecord
from hutch.service import allow, pools
from hutch.service.instances.volume import making
from hutch.service.parts import Parts
from hutch.service.volumes import content, quiet, refresh, render, settings
from hutch.storage import transfer
from hutch.work.operations import Operation


async def create(parts: Parts, pool: str, project: str, wanted: VolumePost) -> VolumeRecord | Operation:
    """Sync for an empty volume, an operation for a copy, as clients expect."""
    if wanted.type not in ("", "custom"):
        raise Invalid(f"Currently not allowed to create storage volumes of type {wanted.type}")
    settings.check_name(wanted.name)
    place = home(parts.state, project, Kind.VOLUMES)
    if wanted.source.type == "copy" or (wanted.source.name and wanted.source.type in ("", "copy")):
        return _copy(parts, pool, place, wanted)
    if wanted.source.type == "migration":
        from hutch.service.volumes import migrate

        return migrate.receive(parts, _record(parts, pool, place, wanted), wanted)
    if wanted.source.type not in ("", "none"):
        raise Unsupported(f"Volumes cannot be created from a source of type {wanted.source.type!r} here")
    record = _record(parts, pool, place, wanted)
    driver = pools.running(parts, pool)
    allow.volume(parts, record)
    async with parts.locks.hold(settings.lock(pool, place, wanted.name)):
        settings.check_free(parts, pool, place, wanted.name)
        async with making(parts, driver, settings.of(record)) as doomed:
            fill = content.empty(as_bytes(record.config["size"])) if record.content_type == "block" else None
            await driver.create_volume(settings.of(record), fill=fill)
            await settings.limit(driver, record)
            await commit(parts, record, doomed)
    parts.events.lifecycle("storage-volume-created", render.url(pool, place, "custom", wanted.name), place)
    return record


def _record(parts: Parts, pool: str, project: str, wanted: VolumePost) -> VolumeRecord:
    kind = wanted.content_type or "filesystem"
    if kind not in settings.CONTENT:
        raise Invalid(f"Invalid content type {kind!r}: {', '.join(settings.CONTENT)} are known")
    if kind == "iso":
        raise Invalid(
            "ISO volumes are made by importing an ISO image: `hutch storage volume import POOL FILE --type=iso`"
        )
    config = settings.complete(parts, pool, strings(wanted.config), kind)
    return VolumeRecord(
        pool=pool,
        project=project,
        name=wanted.name,
        description=wanted.description,
        config=config,
        content_type=kind,
        created_at=now(),
    )


Source = tuple[VolumeRecord, VolumeSnapshotRecord | None]


def source(parts: Parts, pool: str, project: str, name: str) -> Source:
    """The volume that VOLUME or VOLUME/SNAPSHOT names, and the snapshot."""
    volume, _, snapshot = name.partition("/")
    record = parts.state.volumes.get(pool, project, volume)
    return record, parts.state.volume_snapshots.get(pool, project, volume, snapshot) if snapshot else None


def _copy(parts: Parts, pool: str, place: str, wanted: VolumePost) -> Operation:
    origin_pool = wanted.source.pool or pool
    origin_place = home(parts.state, wanted.source.project, Kind.VOLUMES) if wanted.source.project else place

    def found() -> Source:
        return source(parts, origin_pool, origin_place, wanted.source.name)

    origin, kept = found()
    if wanted.content_type not in ("", origin.content_type):
        raise Invalid(f"Cannot copy a volume of content type {origin.content_type} as {wanted.content_type}")
    config = settings.complete(parts, pool, (kept or origin).config | strings(wanted.config), origin.content_type)
    record = VolumeRecord(
        pool=pool,
        project=place,
        name=wanted.name,
        description=wanted.description or (kept or origin).description,
        config=config,
        content_type=origin.content_type,
        created_at=now(),
    )
    pools.running(parts, pool)
    there = parts.state.volumes.find(pool, place, wanted.name) if wanted.source.refresh else None
    if there is None:
        settings.check_free(parts, pool, place, wanted.name)
        allow.volume(parts, record)
    elif there.content_type != origin.content_type:
        raise Invalid(f"Cannot refresh a volume of content type {there.content_type} from one of {origin.content_type}")

    async def work(operation: Operation) -> None:
        locks = (settings.lock(pool, place, wanted.name), settings.lock(origin_pool, origin_place, origin.name))
        async with parts.locks.hold(*locks):
            if there is not None:
                current = parts.state.volumes.get(pool, place, wanted.name)
                await refresh.refresh_held(parts, current, found(), only=wanted.source.volume_only)
                return
            settings.check_free(parts, pool, place, wanted.name)
            await copy_held(parts, record, found(), only=wanted.source.volume_only)

    return parts.operations.start("Copying storage volume", work, project=place, resources=render.resources(record))


async def copy_held(
    parts: Parts,
    record: VolumeRecord,
    origin: Source,
    *,
    only: bool,
    moves: bool = False,
    event: str = "storage-volume-created",
) -> None:
    """Make `record` of another volume (with its snapshots) or a snapshot; the locks of both are held. `moves`: the other
    goes next, and does not count for what the project may have."""
    volume, kept = origin
    history = [] if only or kept else parts.state.volume_snapshots.all(volume.pool, volume.project, volume.name)
    from_pool, to_pool = pools.running(parts, volume.pool), pools.running(parts, record.pool)
    target = settings.of(record)
    async with making(parts, to_pool, target) as doomed:
        names = [each.name for each in history]

        async def take() -> None:
            if from_pool is to_pool:
                await to_pool.copy(settings.of(kept or volume), target, snapshots=names)
            else:
                await transfer.copy(from_pool, settings.of(kept or volume), to_pool, target, names)

        await (take() if kept else quiet.quietly(parts, volume, take))
        if record.content_type == "block":
            await content.resize(to_pool, target, as_bytes(record.config["size"]))
        await settings.limit(to_pool, record)
        await commit(parts, record, doomed, *snapshots_of(record, history), instead_of=volume if moves else None)
    parts.events.lifecycle(event, render.url(record.pool, record.project, "custom", record.name), record.project)


async def commit(
    parts: Parts,
    record: VolumeRecord,
    doomed: DoomedRecord,
    *snapshots: VolumeSnapshotRecord,
    instead_of: VolumeRecord | None = None,
) -> None:
    """The volume is whole: from this one step on it exists, if its project still allows it."""
    async with allow.settled(parts, record.project):
        allow.volume(parts, record, instead_of)
        async with parts.state.change() as transaction:
            transaction.put(record, *snapshots)
            transaction.delete(doomed)


def snapshots_of(record: VolumeRecord, history: list[VolumeSnapshotRecord]) -> list[VolumeSnapshotRecord]:
    """The records of snapshots as they are called when they belong to `record`."""
    return [replace(each, pool=record.pool, project=record.project, volume=record.name) for each in history]
