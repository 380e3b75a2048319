"""Create an instance from an image, from another instance, or empty."""

import os

from hutch.errors import Invalid, Unsupported
from hutch.schema.base import ZERO_TIME, Config, now, strings
from hutch.schema.image import ImageRecord
from hutch.schema.instance import InstancePost, InstanceRecord
from hutch.service import allow, image_fetch, images
from hutch.service.instances import copy, make, names, power, render, rules, sizes, volume
from hutch.service.migration import sink
from hutch.service.parts import Parts, instance_lock
from hutch.work.operations import Operation


async def create(parts: Parts, project: str, wanted: InstancePost) -> Operation:
    """Accept the wish or refuse it now; do the work in an operation."""
    if wanted.type not in ("", "container"):
        raise Invalid(f"Instance type {wanted.type!r} is not supported: this server runs containers")
    name = wanted.name or names.petname(lambda each: parts.state.instances.find(project, each) is None)
    rules.check_name(name)
    wanted.config = {**allow.own_config(parts, project, sizes.limits(wanted.instance_type) | strings(wanted.config))}
    kind = wanted.source.type or "none"
    if kind == "copy":
        return copy.start(parts, project, name, wanted)
    if kind == "migration":
        return sink.start(parts, project, name, wanted)
    if kind not in ("image", "none"):
        raise Unsupported(f"Instances cannot be created from a source of type {kind!r} here")
    elsewhere = kind == "image" and bool(wanted.source.server)
    if elsewhere:
        image_fetch.check(wanted.source)
    image = await images.resolve(parts, project, wanted.source) if kind == "image" and not elsewhere else None
    record = _record(project, name, wanted, image)
    rules.check_settings(parts, project, name, record.profiles, record.config, record.devices)

    async def work(operation: Operation) -> None:
        nonlocal image, record
        if elsewhere:
            image = await image_fetch.for_instance(parts, project, wanted.source, operation)
            images.check_runs(image, wanted.source.alias)
            record = _record(project, name, wanted, image)
        async with parts.locks.hold(instance_lock(project, name)):
            rules.check_free(parts, project, name)
            _, devices = rules.check_settings(parts, project, name, record.profiles, record.config, record.devices)
            pool = volume.pool(parts, devices)
            async with volume.making(parts, pool, volume.of(record)) as doomed:
                if image is not None:
                    await images.ensure_tree(parts, pool, image, operation)
                await pool.create_volume(volume.of(record), image=image.fingerprint if image else None)
                if size := volume.size(devices):
                    await volume.limit(pool, volume.of(record), size)
                await make.directory(parts, record)
                if image is not None:
                    await images.seed(parts, image, parts.instance_directory(project, name))
                await make.commit(parts, record, doomed)
            parts.events.lifecycle("instance-created", render.url(project, name), project)
            if image is not None:
                await images.used(parts, image)
        if wanted.start:
            await power.start(parts, project, name)

    return parts.operations.start(
        "Creating instance", work, project=project, resources=render.resources(project, name), may_cancel=False
    )


def _record(project: str, name: str, wanted: InstancePost, image: ImageRecord | None) -> InstanceRecord:
    config: Config = {f"image.{key}": value for key, value in image.properties.items()} if image else {}
    usual = image.profiles if image else ["default"]
    config |= strings(wanted.config) | make.fresh_volatile()
    config |= {"volatile.base_image": image.fingerprint} if image else {}
    return InstanceRecord(
        name=name,
        project=project,
        architecture=wanted.architecture or (image.architecture if image else os.uname().machine),
        description=wanted.description,
        ephemeral=bool(wanted.ephemeral),
        profiles=usual if wanted.profiles is None else wanted.profiles,
        config=config,
        devices={device: strings(keys) for device, keys in (wanted.devices or {}).items()},
        created_at=now(),
        last_used_at=ZERO_TIME,
    )
