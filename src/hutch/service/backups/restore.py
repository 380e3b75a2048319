"""Makes an instance or a custom volume of a backup's file, hutch's own or a real LXD's."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
import yaml
from msgspec.structs import replace

from hutch.access.projects import Kind, home
from hutch.errors import HutchError, Invalid, NotFound
from hutch.image import backup as file
from hutch.image import metadata, templates
from hutch.kernel import unshift
from hutch.kernel.idmap import IdMap
from hutch.schema.backup import BackupConfig, BackupIndex
from hutch.schema.base import ZERO_TIME, Config, Devices, convert, now
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.storage import VolumeRecord, VolumeSnapshotRecord
from hutch.service import allow, images, pools
from hutch.service.instances import expand, make, render, rules, volume
from hutch.service.migration import shifted
from hutch.service.parts import Parts, instance_lock
from hutch.service.volumes import content, create, settings
from hutch.service.volumes import render as volumes
from hutch.storage import transfer
from hutch.storage.base import StorageDriver, Volume
from hutch.work.operations import Operation

_PROGRESS = "create_instance_from_backup_progress"
Document = TypeVar("Document")


@dataclass
class Upload:
    """A backup's file on its way in, in a folder that goes when nobody holds it any more."""

    path: Path
    holding: AsyncExitStack = field(default_factory=AsyncExitStack)


@asynccontextmanager
async def uploading(parts: Parts, source: AsyncIterable[bytes]) -> AsyncIterator[Upload]:
    """What arrives, on disk while the block runs; the operations below keep it until they end."""
    async with AsyncExitStack() as stack:
        folder = await asyncio.to_thread(_new_folder, parts.backups)
        stack.push_async_callback(asyncio.to_thread, shutil.rmtree, folder, ignore_errors=True)
        upload = Upload(folder / "backup", stack)
        with await asyncio.to_thread(upload.path.open, "wb") as out:
            try:
                async for chunk in source:
                    await asyncio.to_thread(out.write, chunk)
                await asyncio.to_thread(out.flush)
            except OSError as error:
                raise HutchError(f"the backup cannot be received: {error.strerror}") from error
        yield upload


def _new_folder(backups: Path) -> Path:
    backups.mkdir(mode=0o700, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="incoming-", dir=backups))


async def _read(parts: Parts, upload: Upload, operation: Operation) -> tuple[file.Contents, BackupIndex, BackupConfig]:
    """What the file holds, what it says of itself, and of the records."""

    def told(percent: int) -> None:
        operation.progress(_PROGRESS, "Check", percent)

    contents = await file.read(upload.path, await images.room(parts), told)
    index = _document(contents.index, BackupIndex, "index.yaml")
    if index.optimized:
        raise Invalid(
            f"the backup is in the optimised form of the {index.backend} driver: export it again without "
            "--optimized-storage"
        )
    config = index.config or _document(contents.config, BackupConfig, "backup.yaml")
    return contents, index, config


def _document(text: str, kind: type[Document], name: str) -> Document:
    try:
        found = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Invalid(f"the backup's {name} is no YAML: {error}") from error
    try:
        return msgspec.convert(found or {}, kind, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Invalid(f"the backup's {name} is wrong: {error}") from error


def instance(parts: Parts, project: str, upload: Upload, name: str, pool: str) -> Operation:
    """Make the instance, under another name or on another pool when they are given."""
    if name:
        rules.check_name(name)
        rules.check_free(parts, project, name)
    if pool:
        pools.running(parts, pool)
    held = upload.holding.pop_all()

    async def work(operation: Operation) -> None:
        async with held:
            contents, index, config = await _read(parts, upload, operation)
            if index.type not in ("", "container"):
                raise Invalid(f"the backup is of a {index.type or 'unknown thing'}, not of a container")
            record, history = _instance_records(parts, project, config, index, name)
            record, target = _placed(parts, record, index, pool)
            trees = {each.name: f"backup/snapshots/{each.name}/rootfs" for each in history}
            _expect_trees(contents, [*trees.values(), "backup/container/rootfs"])
            async with parts.locks.hold(instance_lock(project, record.name)):
                rules.check_free(parts, project, record.name)
                rules.check_settings(parts, project, record.name, record.profiles, record.config, record.devices)
                place = volume.of(record)
                async with volume.making(parts, target, place) as doomed:
                    await _grow(parts, target, place, upload, contents, trees, "backup/container/rootfs", operation)
                    folder = await make.directory(parts, record)
                    await asyncio.to_thread(_write_own, contents, folder)
                    if size := volume.size(expand.of(parts.state, record)[1]):
                        await volume.limit(target, place, size)
                    await make.commit(parts, record, doomed, *history)
            operation.resources.update(render.resources(project, record.name))
            parts.events.lifecycle("instance-created", render.url(project, record.name), project)

    return parts.operations.start(
        "Restoring backup", work, project=project, resources=render.resources(project, name) if name else {}
    )


def _instance_records(
    parts: Parts, project: str, config: BackupConfig, index: BackupIndex, name: str
) -> tuple[InstanceRecord, list[SnapshotRecord]]:
    if config.owner is None:
        raise Invalid("the backup does not say what instance it is of: its index.yaml has no config.container")
    found = convert(_known(config.owner), InstanceRecord)
    name = name or found.name or index.name
    rules.check_name(name)
    record = replace(
        found,
        name=name,
        project=project,
        stateful=False,
        config=_kept(parts, found.config) | _own(),
        created_at=now(),
        last_used_at=ZERO_TIME,
    )
    described = {str(each.get("name", "")).rpartition("/")[2]: each for each in config.snapshots or []}
    history = []
    for snapshot in index.snapshots or []:
        rules.check_snapshot_name(snapshot)
        kept = convert(_known(described.get(snapshot, {})) | {"instance": name, "name": snapshot}, SnapshotRecord)
        history.append(replace(kept, name=snapshot, project=project, stateful=False, config=_kept(parts, kept.config)))
    for wanted in {*record.profiles}:
        if parts.state.profiles.find(home(parts.state, project, Kind.PROFILES), wanted) is None:
            raise Invalid(f"Requested profile {wanted!r} doesn't exist: make it first, or import with another project")
    return record, history


def _known(document: dict[str, Any]) -> dict[str, Any]:
    """Without members that are null, which Go writes for empty ones."""
    return {key: value for key, value in document.items() if value is not None}


def _own() -> Config:
    """What the instance gets anew; its templates were applied when it was made."""
    return {key: value for key, value in make.fresh_volatile().items() if key != "volatile.apply_template"}


def _kept(parts: Parts, config: Config) -> Config:
    """The config without what names things of the host it comes from. Nics keep their addresses, for the guest is to be
    what it was, unless an instance here has them."""
    taken = {
        value for each in parts.state.instances.all() for key, value in each.config.items() if key.endswith(".hwaddr")
    }
    return {
        key: value
        for key, value in config.items()
        if not key.startswith("volatile.")
        or key == "volatile.base_image"
        or (key.endswith((".hwaddr", ".name")) and key.count(".") == 2 and value not in taken)
    }


def _placed(
    parts: Parts, record: InstanceRecord, index: BackupIndex, pool: str
) -> tuple[InstanceRecord, StorageDriver]:
    """The instance with its root disk on the wanted pool, on the one that it was on, or on the default profile's."""
    devices: Devices = expand.of(parts.state, record)[1]
    name, root = expand.root_disk(devices) or ("root", {"type": "disk", "path": "/"})
    wanted = pool or (index.pool if index.pool in parts.pools else "") or root.get("pool", "")
    if wanted not in parts.pools:
        default = expand.root_disk(expand.expanded(parts.state, record.project, ["default"], {}, {})[1])
        wanted = default[1].get("pool", "") if default else ""
    if wanted not in parts.pools:
        raise NotFound(f"Storage pool {index.pool!r} not found: name another one to import to (--storage)")
    if root.get("pool") != wanted:
        record = replace(record, devices=record.devices | {name: root | {"pool": wanted}})
    return record, parts.pools[wanted]


def _expect_trees(contents: file.Contents, wanted: Sequence[str]) -> None:
    if missing := [tree for tree in wanted if tree not in contents.trees]:
        raise Invalid(f"the backup is incomplete: it has no {missing[0]}")


def _write_own(contents: file.Contents, folder: Path) -> None:
    if contents.metadata:
        metadata.parse(contents.metadata)
        (folder / templates.METADATA).write_text(contents.metadata)
    for name, data in contents.templates.items():
        metadata.check_name(name)
        target = folder / templates.FOLDER / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


async def _grow(
    parts: Parts,
    pool: StorageDriver,
    place: Volume,
    upload: Upload,
    contents: file.Contents,
    snapshots: dict[str, str],
    last: str,
    operation: Operation,
    idmap: Sequence[IdMap] = (),
) -> None:
    """Make the volume of the first tree, then let it become each later one, with a snapshot between them.

    `idmap` tells how the ids in the backup are shifted, as those of volumes are that an LXD had to shift.
    """

    def told(percent: int) -> None:
        operation.progress(_PROGRESS, "Unpack", percent)

    states = [*snapshots.items(), ("", last)]
    for number, (snapshot, tree) in enumerate(states):

        async def fill(root: Path, tree: str = tree) -> None:
            await file.write(upload.path, contents, tree, root, told)
            if idmap:
                await asyncio.to_thread(unshift.unshift, root, idmap)

        if number == 0:
            await pool.create_volume(place, fill=fill)
        else:
            await _become(parts, pool, place, fill)
        if snapshot:
            await pool.snapshot(place, snapshot)


async def _become(parts: Parts, pool: StorageDriver, place: Volume, fill: Any) -> None:
    """Let the volume hold what `fill` writes; what does not differ stays shared with its snapshots."""
    other = Volume(place.type, place.project, f"{place.name}~{uuid4().hex[:8]}")
    doomed = volume.doomed(pool, other)
    await parts.state.put(doomed)
    try:
        await pool.create_volume(other, fill=fill)
        await transfer.refresh(pool, other, pool, place)
    finally:
        await asyncio.shield(volume.remove(parts, pool, doomed))


def custom(parts: Parts, pool: str, project: str, upload: Upload, name: str) -> Operation:
    """Make the volume on the pool, under another name when one is given."""
    driver = pools.running(parts, pool)
    if name:
        settings.check_name(name)
        settings.check_free(parts, pool, project, name)
    held = upload.holding.pop_all()

    async def work(operation: Operation) -> None:
        async with held:
            contents, index, config = await _read(parts, upload, operation)
            if index.type != "custom":
                raise Invalid(f"the backup is of a {index.type or 'container'}, not of a custom volume")
            record, history = _volume_records(parts, pool, project, config, index, name)
            end = "" if record.content_type == "filesystem" else ".img"
            found = (config.volume or {}).get("config") or {}
            trees = {each.name: f"backup/volume-snapshots/{each.name}{end}" for each in history}
            _expect_trees(contents, [*trees.values(), f"backup/volume{end}"])
            allow.volume(parts, record)
            async with parts.locks.hold(settings.lock(pool, project, record.name)):
                settings.check_free(parts, pool, project, record.name)
                place = settings.of(record)
                async with volume.making(parts, driver, place) as doomed:
                    last, idmap = f"backup/volume{end}", shifted.noted(str(found.get("volatile.idmap.last", "")))
                    await _grow(parts, driver, place, upload, contents, trees, last, operation, idmap)
                    await settings.limit(driver, record)
                    await create.commit(parts, record, doomed, *history)
            operation.resources.update(volumes.resources(record))
            where = volumes.url(pool, project, "custom", record.name)
            parts.events.lifecycle("storage-volume-created", where, project)

    return parts.operations.start("Restoring custom volume backup", work, project=project)


def _volume_records(
    parts: Parts, pool: str, project: str, config: BackupConfig, index: BackupIndex, name: str
) -> tuple[VolumeRecord, list[VolumeSnapshotRecord]]:
    if config.volume is None:
        raise Invalid("the backup does not say what volume it is of: its index.yaml has no config.volume")
    place = {"pool": pool, "project": project}
    found = convert(_known(config.volume) | place, VolumeRecord)
    name = name or found.name or index.name
    settings.check_name(name)
    if found.content_type not in settings.CONTENT:
        raise Invalid(f"the backup's volume has the unknown content type {found.content_type!r}")
    record = replace(found, name=name, config=_settings(found.config), created_at=now())
    settings.check(record.config)
    described = {str(each.get("name", "")).rpartition("/")[2]: each for each in config.volume_snapshots or []}
    history = []
    for snapshot in index.snapshots or []:
        rules.check_snapshot_name(snapshot)
        own = _known(described.get(snapshot, {})) | place | {"volume": name, "name": snapshot}
        kept = convert(own, VolumeSnapshotRecord)
        history.append(replace(kept, config=_settings(kept.config), content_type=record.content_type))
    return record, history


def _settings(config: Config) -> Config:
    """Without what an LXD noted for itself, and what other drivers alone have."""
    ours = ("size", "security.shifted", "security.unmapped", "snapshots.", "user.")
    return {key: value for key, value in config.items() if key.startswith(ours) and value}


def iso(parts: Parts, pool: str, project: str, upload: Upload, name: str) -> Operation:
    """Make a volume of content type iso of the file itself."""
    driver = pools.running(parts, pool)
    settings.check_name(name)
    settings.check_free(parts, pool, project, name)
    held = upload.holding.pop_all()

    async def work(operation: Operation) -> None:
        async with held:
            size = (await asyncio.to_thread(upload.path.stat)).st_size
            record = VolumeRecord(
                pool=pool,
                project=project,
                name=name,
                config={"size": str(size)},
                content_type="iso",
                created_at=now(),
            )
            allow.volume(parts, record)

            async def fill(root: Path) -> None:
                await asyncio.to_thread(_copy, upload.path, root / content.FILE)

            async with parts.locks.hold(settings.lock(pool, project, name)):
                settings.check_free(parts, pool, project, name)
                async with volume.making(parts, driver, settings.of(record)) as doomed:
                    await driver.create_volume(settings.of(record), fill=fill)
                    await create.commit(parts, record, doomed)
            where = volumes.url(pool, project, "custom", name)
            parts.events.lifecycle("storage-volume-created", where, project)

    return parts.operations.start("Importing ISO image", work, project=project)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o600)
