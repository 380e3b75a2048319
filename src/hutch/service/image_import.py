"""New images: what was uploaded or packed is checked, given its place, and recorded last."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from msgspec.structs import replace

from hutch.errors import AlreadyExists, HutchError, Invalid, NotFound
from hutch.image import metadata
from hutch.image.files import Digest, Incoming
from hutch.image.metadata import Contents, Metadata
from hutch.schema.base import ZERO_TIME, now, strings
from hutch.schema.image import AliasRecord, ImagePost, ImageRecord
from hutch.service import allow, images
from hutch.service.parts import Parts
from hutch.work.operations import Operation

PROGRESS = "create_image_from_upload_progress"


@dataclass
class Upload:
    """Files on their way to become an image, in a folder that goes when nobody holds it any more."""

    arrived: Incoming
    digest: Digest = field(default_factory=Digest)
    holding: AsyncExitStack = field(default_factory=AsyncExitStack)


@asynccontextmanager
async def uploading(parts: Parts) -> AsyncIterator[Upload]:
    """A place for an upload while the block runs; `accept` keeps it until its operation ends."""
    async with AsyncExitStack() as stack:
        upload = Upload(await stack.enter_async_context(images.files(parts).incoming()))
        upload.holding = stack
        yield upload


def accept(
    parts: Parts, project: str, upload: Upload, wanted: ImagePost, metadata: Mapping[str, str] | None = None
) -> Operation:
    """Make an image of an upload that is complete."""
    check_wish(parts, project, wanted)
    held = upload.holding.pop_all()

    async def work(operation: Operation) -> None:
        async with held:
            fingerprint = upload.digest.fingerprint
            if wanted.fingerprint and wanted.fingerprint.lower() != fingerprint:
                raise Invalid(f"fingerprints don't match, got {fingerprint} expected {wanted.fingerprint}")
            try:
                await record(parts, project, upload, wanted, operation)
            except Invalid as error:
                raise Invalid(f"{wanted.filename}: {error}" if wanted.filename else str(error)) from error

    return parts.operations.start("Downloading image", work, project=project, metadata=metadata, may_cancel=True)


def check_wish(parts: Parts, project: str, wanted: ImagePost) -> None:
    """Refuse at once what needs no look at the files."""
    parts.state.projects.get(project)
    place = images.home(parts, project)
    images.known_profiles(parts, place, wanted.profiles or [])
    for alias in wanted.aliases or []:
        check_alias(parts, place, alias.name)


def check_alias(parts: Parts, place: str, name: str) -> None:
    if not name or name.startswith("/") or "\0" in name or name in (".", ".."):
        raise Invalid(f"Invalid alias name {name!r}")
    if parts.state.aliases.find(place, name) is not None:
        raise AlreadyExists(f"Alias {name!r} already exists")


async def record(
    parts: Parts,
    project: str,
    upload: Upload,
    wanted: ImagePost,
    operation: Operation,
    came_from: dict[str, str] | None = None,
    *,
    cached: bool = False,
) -> ImageRecord:
    """Check the files, put them in their place, and record the image: from then on it exists."""
    fingerprint = upload.digest.fingerprint
    place = images.home(parts, project)
    if parts.state.images.find(place, fingerprint) is not None:
        raise AlreadyExists(f"Image with same fingerprint already exists: {fingerprint[:12]}")
    contents, about = await _inspected(parts, upload, operation)
    async with parts.locks.hold(images.lock(fingerprint)):
        if parts.state.images.find(place, fingerprint) is not None:
            raise AlreadyExists(f"Image with same fingerprint already exists: {fingerprint[:12]}")
        await images.files(parts).place(upload.arrived, fingerprint, contents)
        made = replace(_record(place, upload, wanted, about), update_source=came_from, cached=cached)
        try:
            await commit(parts, made, wanted)
        except BaseException:
            await asyncio.shield(images.forget_unless_used(parts, fingerprint))
            raise
    operation.resources["images"] = [images.url(place, fingerprint)]
    operation.update(fingerprint=fingerprint, size=str(made.size))
    parts.events.lifecycle("image-created", images.url(place, fingerprint), place, {"type": made.type})
    return made


async def _inspected(parts: Parts, upload: Upload, operation: Operation) -> tuple[Contents, Metadata]:
    arrived = upload.arrived
    sources = [arrived.main, arrived.rootfs] if await asyncio.to_thread(lambda: arrived.is_split) else [arrived.main]

    def told(percent: int) -> None:
        operation.progress(PROGRESS, "Check", percent)

    contents = await images.files(parts).inspect(sources, await images.room(parts), told)
    told(100)
    return contents, metadata.parse(contents.metadata)


def _record(place: str, upload: Upload, wanted: ImagePost, about: Metadata) -> ImageRecord:
    return ImageRecord(
        fingerprint=upload.digest.fingerprint,
        project=place,
        filename=wanted.filename,
        size=upload.digest.size,
        architecture=about.architecture,
        public=bool(wanted.public),
        auto_update=bool(wanted.auto_update),
        properties=about.properties | strings(wanted.properties),
        profiles=wanted.profiles or ["default"],
        created_at=about.created_at,
        expires_at=wanted.expires_at or about.expires_at,
        last_used_at=ZERO_TIME,
        uploaded_at=now(),
    )


async def commit(parts: Parts, made: ImageRecord, wanted: ImagePost) -> None:
    """The image and its aliases, in one step."""
    async with allow.settled(parts, made.project), parts.state.change() as transaction:
        allow.image(parts, made)
        transaction.put(made)
        for alias in wanted.aliases or []:
            check_alias(parts, made.project, alias.name)
            description = alias.description or ""
            transaction.put(
                AliasRecord(name=alias.name, target=made.fingerprint, project=made.project, description=description)
            )


def copy(parts: Parts, project: str, wanted: ImagePost) -> Operation:
    """The image of another project of this server also in this one; the files are shared."""
    check_wish(parts, project, wanted)
    origin = wanted.source.project or "default"
    found = parts.state.aliases.find(images.home(parts, origin), wanted.source.alias)
    source = images.find(parts, origin, found.target if found else wanted.source.fingerprint)

    async def work(operation: Operation) -> None:
        place = images.home(parts, project)
        async with parts.locks.hold(images.lock(source.fingerprint)):
            current = parts.state.images.find(source.project, source.fingerprint)
            if current is None:
                raise NotFound("Image not found")
            if parts.state.images.find(place, source.fingerprint) is not None:
                raise AlreadyExists(f"Image with same fingerprint already exists: {source.fingerprint[:12]}")
            made = _copied(current, place, wanted)
            await commit(parts, made, wanted)
        operation.update(fingerprint=made.fingerprint, size=str(made.size))
        parts.events.lifecycle("image-created", images.url(place, made.fingerprint), place, {"type": made.type})

    return parts.operations.start("Downloading image", work, project=project)


def _copied(source: ImageRecord, place: str, wanted: ImagePost) -> ImageRecord:
    return replace(
        source,
        project=place,
        public=bool(wanted.public),
        auto_update=bool(wanted.auto_update),
        properties=source.properties | strings(wanted.properties),
        profiles=wanted.profiles or ["default"],
        last_used_at=ZERO_TIME,
        uploaded_at=now(),
    )


def refuse(kind: str) -> HutchError:
    """What is said to a source of another type."""
    return Invalid(f"Invalid image source type {kind!r}: instance, snapshot, image and url are known")
