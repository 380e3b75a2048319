"""Give a stopped instance a new root from an image, or an empty one: its name, settings, addresses and devices stay."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from msgspec.structs import replace

from hutch.errors import Conflict, Invalid
from hutch.schema.doomed import DoomedRecord
from hutch.schema.image import ImageRecord
from hutch.schema.instance import InstanceRecord, RebuildPost
from hutch.service import guest, image_fetch, images
from hutch.service.instances import expand, make, render, volume
from hutch.service.instances import stateful as state
from hutch.service.parts import Parts, instance_lock
from hutch.storage.base import StorageDriver, Volume
from hutch.work.operations import Operation


async def rebuild(parts: Parts, project: str, name: str, wanted: RebuildPost) -> Operation:
    """Accept the wish or refuse it now; do the work in an operation."""
    kind = wanted.source.type or "none"
    if kind not in ("image", "none"):
        raise Invalid(f"An instance cannot be rebuilt from a source of type {kind!r}: image or none is expected")
    _check(parts, parts.state.instances.get(project, name))
    elsewhere = kind == "image" and bool(wanted.source.server)
    if elsewhere:
        image_fetch.check(wanted.source)
    image = await images.resolve(parts, project, wanted.source) if kind == "image" and not elsewhere else None

    async def work(operation: Operation) -> None:
        nonlocal image
        if elsewhere:
            image = await image_fetch.for_instance(parts, project, wanted.source, operation)
            images.check_runs(image, wanted.source.alias)
        async with parts.locks.hold(instance_lock(project, name)):
            record = parts.state.instances.get(project, name)
            _check(parts, record)
            await _now_held(parts, record, image, operation)
        parts.events.lifecycle("instance-rebuilt", render.url(project, name), project)

    return parts.operations.start(
        "Rebuilding instance", work, project=project, resources=render.resources(project, name)
    )


def _check(parts: Parts, record: InstanceRecord) -> None:
    if parts.runtime.running(record.project, record.name) is not None:
        raise Conflict("Instance must be stopped to be rebuilt")
    if parts.state.snapshots.all(record.project, record.name):
        raise Conflict("Cannot rebuild an instance with snapshots: delete them first, or copy the instance")


async def _now_held(parts: Parts, record: InstanceRecord, image: ImageRecord | None, operation: Operation) -> None:
    devices = expand.of(parts.state, record)[1]
    pool = volume.pool(parts, devices)
    if image is not None:
        await images.ensure_tree(parts, pool, image, operation)
    record = await state.remember(parts, record, stateful=False)
    async with _aside(parts, pool, volume.of(record)) as begun:
        await pool.create_volume(volume.of(record), image=image.fingerprint if image else None)
        if size := volume.size(devices):
            await volume.limit(pool, volume.of(record), size)
        old = replace(begun, renamed_from="", replaced=False)
        await parts.state.put(_anew(record, image), old)
    folder = await make.directory(parts, record)
    if image is not None:
        await images.seed(parts, image, folder)
        await images.used(parts, image)
    await volume.remove(parts, pool, old)


@asynccontextmanager
async def _aside(parts: Parts, pool: StorageDriver, kept: Volume) -> AsyncIterator[DoomedRecord]:
    """The volume is out of the way; it comes back when the block fails or the daemon dies in it.

    The record that says so is the block's to change in its last commit."""
    begun = volume.doomed(pool, Volume(kept.type, kept.project, f"{kept.name}.old"), renamed_from=kept.name)
    begun = replace(begun, replaced=True)
    await parts.state.put(begun)
    try:
        await pool.rename(kept, begun.name)
        yield begun
    except BaseException:
        await asyncio.shield(back(parts, pool, begun))
        raise


async def back(parts: Parts, pool: StorageDriver, begun: DoomedRecord) -> None:
    """The old root takes its name again from whatever was made under it."""
    aside = Volume(begun.type, begun.project, begun.name)
    if await pool.has(aside):
        await pool.delete(Volume(aside.type, aside.project, begun.renamed_from))
        await pool.rename(aside, begun.renamed_from)
    await parts.state.delete(begun)


def _anew(record: InstanceRecord, image: ImageRecord | None) -> InstanceRecord:
    config = {key: value for key, value in record.config.items() if not key.startswith("image.")}
    config.pop("volatile.base_image", None)
    config |= {"volatile.apply_template": "create", guest.INSTANCE_ID: str(uuid4())}
    if image is None:
        return replace(record, config=config)
    config |= {f"image.{key}": value for key, value in image.properties.items()}
    config["volatile.base_image"] = image.fingerprint
    return replace(record, config=config, architecture=image.architecture)
