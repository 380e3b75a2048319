"""Writes a backup as one tar, from volumes at rest to whoever reads it: nothing is copied on the way."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

from hutch.errors import HutchError, Invalid, ToolFailed
from hutch.image import templates
from hutch.image.formats import Compression, Packer, packer
from hutch.kernel import mount
from hutch.kernel.run import stream
from hutch.schema.backup import BackupIndex, BackupPost
from hutch.schema.storage import VolumeRecord
from hutch.service import pools
from hutch.service.backups import describe
from hutch.service.instances import expand, snapshot, volume
from hutch.service.parts import Parts, instance_lock
from hutch.service.volumes import content, quiet, settings
from hutch.storage.base import StorageDriver, Volume

CHUNK = 1 << 20
_TAR = (
    *("/usr/bin/tar", "--create", "--file=-", "--numeric-owner", "--sparse", "--acls"),
    *("--xattrs", "--xattrs-include=user.*", "--xattrs-include=security.capability"),
)
Chunks = AsyncIterator[bytes]
Take = Callable[[], Awaitable[None]]


def algorithm(parts: Parts, project: str, wanted: str) -> Packer:
    """The compression that is asked for, else the project's, else the server's."""
    record, server = parts.state.projects.find(project), parts.state.server.find("config")
    key = "backups.compression_algorithm"
    usual = (record.config.get(key) if record else "") or (server.config.get(key) if server else "") or ""
    found = packer(wanted or usual)
    if found.compression is Compression.SQUASHFS:
        raise Invalid("a backup cannot be a squashfs: choose zstd, gzip, xz, bzip2, lzma or none")
    return found


@asynccontextmanager
async def instance(parts: Parts, project: str, name: str, wanted: BackupPost) -> AsyncIterator[Chunks]:
    """The backup of an instance while it is written."""
    compression = algorithm(parts, project, wanted.compression_algorithm)
    async with AsyncExitStack() as stack:
        locked = await stack.enter_async_context(AsyncExitStack())
        await locked.enter_async_context(parts.locks.hold(instance_lock(project, name)))
        record = parts.state.instances.get(project, name)
        history = [] if wanted.only else parts.state.snapshots.all(project, name)
        history.sort(key=lambda each: each.created_at)
        names = [each.name for each in history]
        pool = volume.pool(parts, expand.of(parts.state, record)[1])

        async def quietly(take: Take) -> None:
            await snapshot.quietly(parts, record, take)

        source = await stack.enter_async_context(_at_rest(parts, pool, volume.of(record), names, quietly))
        index = describe.instance(parts, record, history, pool.name)
        stage = await stack.enter_async_context(_stage(parts, index))
        await asyncio.to_thread(_add_own, parts.instance_directory(project, name), stage / "container", index)
        if source != volume.of(record):
            await locked.aclose()
        places = {f"backup/snapshots/{each}/rootfs": source.at(each) for each in names}
        places["backup/container/rootfs"] = source
        yield await stack.enter_async_context(_tar(pool, stage, places, compression))


@asynccontextmanager
async def custom(parts: Parts, pool_name: str, project: str, name: str, wanted: BackupPost) -> AsyncIterator[Chunks]:
    """The backup of a custom volume while it is written."""
    compression = algorithm(parts, project, wanted.compression_algorithm)
    async with AsyncExitStack() as stack:
        locked = await stack.enter_async_context(AsyncExitStack())
        await locked.enter_async_context(parts.locks.hold(settings.lock(pool_name, project, name)))
        record = parts.state.volumes.get(pool_name, project, name)
        history = [] if wanted.only else parts.state.volume_snapshots.all(pool_name, project, name)
        history.sort(key=lambda each: each.created_at)
        names = [each.name for each in history]
        pool = pools.running(parts, pool_name)

        async def quietly(take: Take) -> None:
            await quiet.quietly(parts, record, take)

        source = await stack.enter_async_context(_at_rest(parts, pool, settings.of(record), names, quietly))
        stage = await stack.enter_async_context(_stage(parts, describe.volume(parts, record, history)))
        if source != settings.of(record):
            await locked.aclose()
        places = {f"backup/volume-snapshots/{each}": source.at(each) for each in names}
        places["backup/volume"] = source
        yield await stack.enter_async_context(_tar(pool, stage, places, compression, _renaming(record)))


def suffix(content_type: str) -> str:
    """What the file of a volume that is no filesystem has behind the volume's name in a backup."""
    return "iso" if content_type == "iso" else "img"


def _renaming(record: VolumeRecord) -> list[str]:
    """The file of a block volume is backup/volume.img there, not backup/volume/root.img."""
    if record.content_type == "filesystem":
        return []
    end = suffix(record.content_type)
    return [f"--transform=s,^\\(backup/volume\\(-snapshots/[^/]*\\)\\?\\)/{content.FILE}$,\\1.{end},"]


@asynccontextmanager
async def _at_rest(
    parts: Parts,
    pool: StorageDriver,
    source: Volume,
    names: list[str],
    quietly: Callable[[Take], Awaitable[None]],
) -> AsyncIterator[Volume]:
    """What is packed: a copy that costs nothing and nobody writes to, or where copies cost the volume as it is."""
    if not pool.copies_at_once:
        yield source
        return
    copy = Volume(source.type, source.project, f"{source.name}~{uuid4().hex[:8]}")
    doomed = volume.doomed(pool, copy)
    await parts.state.put(doomed)
    try:
        await quietly(lambda: pool.copy(source, copy, snapshots=names))
        yield copy
    finally:
        await asyncio.shield(volume.remove(parts, pool, doomed))


@asynccontextmanager
async def _stage(parts: Parts, index: BackupIndex) -> AsyncIterator[Path]:
    """A folder with the small files of the backup."""
    stage = await asyncio.to_thread(_new_stage, parts.backups, index)
    try:
        yield stage
    finally:
        await asyncio.to_thread(shutil.rmtree, stage, ignore_errors=True)


def _new_stage(folder: Path, index: BackupIndex) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix="stage-", dir=folder))
    (stage / "index.yaml").write_text(describe.text(index))
    return stage


def _add_own(own: Path, target: Path, index: BackupIndex) -> None:
    """What an instance keeps beside its root: backup.yaml, metadata.yaml and templates."""
    target.mkdir()
    assert index.config is not None
    (target / "backup.yaml").write_text(describe.text(index.config))
    if (own / templates.METADATA).exists():
        shutil.copyfile(own / templates.METADATA, target / templates.METADATA)
    if (own / templates.FOLDER).is_dir():
        shutil.copytree(own / templates.FOLDER, target / templates.FOLDER)


@asynccontextmanager
async def _tar(
    pool: StorageDriver, stage: Path, places: Mapping[str, Volume], packer: Packer, more: list[str] | None = None
) -> AsyncIterator[Chunks]:
    """One tar sees the stage as /backup and each volume at its place in it, and nothing else."""
    trees: dict[str, int] = {}
    try:
        trees["backup"] = await asyncio.to_thread(mount.open_tree, stage)
        for place, source in places.items():
            trees[place] = await pool.mount(source, [], readonly=True)
        words = [f"{place}={tree}" for place, tree in trees.items()]
        squeeze = [f"--use-compress-program={' '.join(packer.argv)}"] if packer.argv else []
        tops = ["backup/index.yaml", *sorted({"/".join(place.split("/")[:2]) for place in places})]
        argv = [sys.executable, "-I", "-m", "hutch.helper.alone", *words, "--"]
        argv += [*_TAR, *squeeze, *(more or []), "--directory=/", *tops]
        # A live volume of a pool whose copies cost is packed while its guest writes: tar then says so with status 1.
        async with stream(argv, pass_fds=list(trees.values()), ok=(0, 1)) as process:
            assert process.stdout is not None
            yield _read(process.stdout)
    except ToolFailed as error:
        raise HutchError(f"the backup cannot be packed: {error}") from error
    finally:
        for tree in trees.values():
            os.close(tree)


async def _read(source: asyncio.StreamReader) -> Chunks:
    while chunk := await source.read(CHUNK):
        yield chunk
