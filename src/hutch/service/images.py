"""Images: found, listed, changed, deleted, and unpacked once for every pool that instances of them are made on."""

import asyncio
import contextlib
import hmac
import logging
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from hutch.access import projects
from hutch.access.projects import Kind
from hutch.errors import HutchError, Invalid, NotFound
from hutch.image import templates
from hutch.image.files import Images
from hutch.image.unpack import unpack
from hutch.schema.base import now, strings
from hutch.schema.image import AliasRecord, ImagePut, ImageRecord
from hutch.schema.instance import Source
from hutch.service.parts import Parts
from hutch.storage.base import StorageDriver, Volume
from hutch.store.base import Changed
from hutch.work.operations import Operation

log = logging.getLogger(__name__)

_SECRET_LIFE = 3600.0
"""Seconds for which a secret lets somebody fetch an image."""


def url(project: str, *words: str) -> str:
    path = "/".join(["/1.0/images", *(quote(word, safe="") for word in words)])
    return path if project == "default" else f"{path}?project={quote(project, safe='')}"


def files(parts: Parts) -> Images:
    return Images(parts.images)


def home(parts: Parts, project: str) -> str:
    """The project whose images a project sees: its own, or those of the default project."""
    return projects.home(parts.state, project, Kind.IMAGES)


def find(parts: Parts, project: str, fingerprint: str) -> ImageRecord:
    """The image with the fingerprint, or the only one whose fingerprint begins so."""
    place, wanted = home(parts, project), fingerprint.lower()
    if (record := parts.state.images.find(place, wanted)) is not None:
        return record
    matches = [image for image in parts.state.images.all(place) if wanted and image.fingerprint.startswith(wanted)]
    if not matches:
        raise NotFound("Image not found")
    if len(matches) > 1:
        raise Invalid(f"More than one image matches the fingerprint {fingerprint!r}: give more of it")
    return matches[0]


async def resolve(parts: Parts, project: str, source: Source) -> ImageRecord:
    """The image that an instance is to be made from: by alias, fingerprint or properties; it must suit this host."""
    record = _named(parts, project, source)
    check_runs(record, source.alias)
    return record


PERSONALITIES = {"x86_64": ("x86_64", "i686"), "aarch64": ("aarch64", "armv8l", "armv7l", "armv6l")}
"""The architectures whose programs a machine can run, its own first."""


def architectures() -> tuple[str, ...]:
    """What runs on this host."""
    machine = os.uname().machine
    return PERSONALITIES.get(machine, (machine,))


def check_runs(record: ImageRecord, alias: str = "") -> None:
    """Invalid for an image of programs that this host cannot run."""
    if record.architecture not in architectures():
        name = alias or record.fingerprint[:12]
        able = " and ".join(architectures())
        raise Invalid(f"Image {name!r} is for {record.architecture}, and this host runs {able}")


def _named(parts: Parts, project: str, source: Source) -> ImageRecord:
    if source.fingerprint:
        return find(parts, source.project or project, source.fingerprint)
    place = home(parts, source.project or project)
    if source.alias:
        return _by_alias(parts, place, source.alias)
    if source.properties:
        return _by_properties(parts, place, source.properties)
    raise Invalid("Must specify one of alias, fingerprint or properties for init from image")


def _by_alias(parts: Parts, place: str, name: str) -> ImageRecord:
    alias = parts.state.aliases.find(place, name)
    if alias is not None:
        return parts.state.images.get(place, alias.target)
    try:
        return find(parts, place, name)
    except NotFound:
        known = ", ".join(sorted(each.name for each in parts.state.aliases.all(place))[:8])
        there = f"there are {known}" if known else "there are none, `hutch image build debian/12` makes one"
        raise NotFound(f"Image {name!r} not found: no alias and no fingerprint is so; {there}") from None


def _by_properties(parts: Parts, place: str, wanted: dict[str, str]) -> ImageRecord:
    matches = [
        image
        for image in parts.state.images.all(place)
        if all(image.properties.get(key) == value for key, value in wanted.items())
    ]
    if not matches:
        raise NotFound("Image not found: none has these properties")
    return max(matches, key=lambda image: image.uploaded_at)


def document(parts: Parts, record: ImageRecord) -> dict[str, Any]:
    aliases = [
        {"name": alias.name, "description": alias.description, "type": alias.type}
        for alias in aliases_of(parts, record)
    ]
    shown = {
        "fingerprint": record.fingerprint,
        "filename": record.filename,
        "size": record.size,
        "architecture": record.architecture,
        "type": record.type,
        "public": record.public,
        "cached": record.cached,
        "auto_update": record.auto_update,
        "aliases": aliases,
        "properties": record.properties,
        "profiles": record.profiles,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "last_used_at": record.last_used_at,
        "uploaded_at": record.uploaded_at,
        "project": record.project,
    }
    return shown | ({"update_source": record.update_source} if record.update_source else {})


def aliases_of(parts: Parts, record: ImageRecord) -> list[AliasRecord]:
    return [alias for alias in parts.state.aliases.all(record.project) if alias.target == record.fingerprint]


def editable(record: ImageRecord) -> dict[str, Any]:
    return {
        "auto_update": record.auto_update,
        "public": record.public,
        "properties": record.properties,
        "profiles": record.profiles,
        "expires_at": record.expires_at,
    }


async def put(
    parts: Parts, record: ImageRecord, wanted: ImagePut, check: Callable[[ImageRecord], None], *, merge: bool
) -> None:
    """Replace what can be edited, or merge it in."""
    async with parts.locks.hold(lock(record.fingerprint)):
        record = parts.state.images.get(record.project, record.fingerprint)
        check(record)
        base = record if merge else ImageRecord(fingerprint=record.fingerprint)
        properties = strings(wanted.properties)
        await parts.state.put(
            replace(
                record,
                auto_update=base.auto_update if wanted.auto_update is None else wanted.auto_update,
                public=base.public if wanted.public is None else wanted.public,
                properties=record.properties | properties if merge else properties,
                profiles=known_profiles(parts, record.project, wanted.profiles or base.profiles),
                expires_at=wanted.expires_at or record.expires_at,
            )
        )
    parts.events.lifecycle("image-updated", url(record.project, record.fingerprint), record.project)


def known_profiles(parts: Parts, project: str, names: Iterable[str]) -> list[str]:
    """The names, if there are such profiles."""
    found = list(names)
    place = projects.home(parts.state, project, Kind.PROFILES)
    for name in found:
        if parts.state.profiles.find(place, name) is None and name != "default":
            raise NotFound(f"Profile {name!r} not found")
    return found


def lock(fingerprint: str) -> str:
    return f"image/{fingerprint}"


def delete(parts: Parts, record: ImageRecord) -> Operation:
    async def work(operation: Operation) -> None:
        async with parts.locks.hold(lock(record.fingerprint)):
            current = parts.state.images.get(record.project, record.fingerprint)
            async with parts.state.change() as transaction:
                transaction.delete(current, *aliases_of(parts, current))
            await forget_unless_used(parts, record.fingerprint)
        parts.events.lifecycle("image-deleted", url(record.project, record.fingerprint), record.project)

    return parts.operations.start(
        "Deleting image",
        work,
        project=record.project,
        resources={"images": [url(record.project, record.fingerprint)]},
    )


def _users(parts: Parts, fingerprint: str) -> list[ImageRecord]:
    return [image for image in parts.state.images.all() if image.fingerprint == fingerprint]


async def forget_unless_used(parts: Parts, fingerprint: str) -> None:
    """Remove the files and the unpacked trees of an image that no project has."""
    if _users(parts, fingerprint):
        return
    await files(parts).remove(fingerprint)
    for pool in list(parts.pools.values()):
        await pool.delete(_tree(fingerprint))


def _tree(fingerprint: str) -> Volume:
    return Volume("image", "", fingerprint)


async def room(parts: Parts) -> int:
    """The most bytes that an image may unpack to: what the largest of the disks holds when it is empty."""
    disk = await asyncio.to_thread(_total, parts.images)
    return max([disk, *[(await pool.space()).total for pool in parts.pools.values()]])


def _total(path: Path) -> int:
    disk = os.statvfs(path)
    return disk.f_blocks * disk.f_frsize


async def ensure_tree(parts: Parts, pool: StorageDriver, record: ImageRecord, operation: Operation) -> None:
    """Unpack the image on the pool, once, as the ancestor of volumes: others that want it too wait for that."""
    if await pool.has(_tree(record.fingerprint)):
        return
    async with parts.locks.hold(lock(record.fingerprint)):
        if await pool.has(_tree(record.fingerprint)):
            return
        parts.state.images.get(record.project, record.fingerprint)
        store = files(parts)
        contents = await store.contents(record.fingerprint, lambda: room(parts))
        sources = await asyncio.to_thread(store.files, record.fingerprint)

        def told(percent: int) -> None:
            operation.progress("create_instance_from_image_unpack_progress", "Unpack", percent)

        async def fill(target: Path) -> None:
            await unpack(sources[-1], contents, target, told, unified=len(sources) == 1)

        await pool.create_image(record.fingerprint, fill)


async def seed(parts: Parts, record: ImageRecord, directory: Path) -> None:
    """Put what the image says of itself, and its templates, into an instance's folder."""
    contents = await files(parts).contents(record.fingerprint, lambda: room(parts))
    await asyncio.to_thread(templates.place, contents, directory)


async def used(parts: Parts, record: ImageRecord) -> None:
    """An instance was made from the image just now."""
    if (current := parts.state.images.find(record.project, record.fingerprint)) is not None:
        # Who changed it meanwhile has most likely written the same.
        with contextlib.suppress(Changed):
            await parts.state.put(replace(current, last_used_at=now()))


def secret(parts: Parts, record: ImageRecord) -> Operation:
    """A token by which somebody without trust may fetch the image for an hour."""
    operation = parts.operations.start(
        "Image download token",
        None,
        kind="token",
        project=record.project,
        resources={"images": [url(record.project, record.fingerprint)]},
        metadata={"secret": secrets.token_hex(32)},
        may_cancel=True,
    )
    asyncio.get_running_loop().call_later(_SECRET_LIFE, operation.stop)
    parts.events.lifecycle("image-secret-created", url(record.project, record.fingerprint), record.project)
    return operation


def is_secret(parts: Parts, record: ImageRecord, text: str) -> bool:
    """Whether the text is a secret that was given out for the image."""
    wanted = url(record.project, record.fingerprint)
    return any(
        operation.kind == "token"
        and not operation.status.final
        and wanted in operation.resources.get("images", [])
        and hmac.compare_digest(str(operation.metadata.get("secret", "")), text)
        for operation in parts.operations.all()
    )


async def reconcile(parts: Parts) -> None:
    """After a crash: remove files and trees of images that are not recorded, and say which files are missing."""
    known = {image.fingerprint for image in parts.state.images.all()}
    for name in await files(parts).sweep(known):
        log.warning("removed the stray image file %s", name)
    for pool in parts.pools.values():
        for volume in await pool.volumes():
            if volume.type == "image" and volume.name not in known:
                await pool.delete(volume)
    for fingerprint in known:
        if not await asyncio.to_thread(files(parts).main(fingerprint).exists):
            log.error("the file of image %s is missing: delete the image and import it again", fingerprint)


def file_error(record: ImageRecord) -> HutchError:
    return HutchError(f"the file of image {record.fingerprint[:12]} is missing: delete the image and import it again")
