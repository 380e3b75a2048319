"""Fetches images from other servers: because somebody asks for one, or an instance is to be made of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from hutch.errors import Invalid, Unavailable, Unsupported
from hutch.schema.base import now, strings
from hutch.schema.image import ImagePost, ImageRecord, ImageSource
from hutch.schema.instance import Source
from hutch.schema.keys import server as keys
from hutch.service import image_import, images, server
from hutch.service.image_import import Upload
from hutch.service.image_server import ImageServer, Offer, named_errors, session
from hutch.service.image_servers import direct, lxd, simplestreams
from hutch.service.parts import Parts
from hutch.work.operations import Operation

_SERVERS: dict[str, type[ImageServer]] = {
    "direct": direct.Driver,
    "lxd": lxd.Driver,
    "simplestreams": simplestreams.Driver,
}
"""By protocol."""

_PROTOCOLS = {"": "lxd", "incus": "lxd", "hutch": "lxd"}
"""Other names of protocols."""


def fetch(parts: Parts, project: str, wanted: ImagePost) -> Operation:
    """Accept the wish or refuse it now; do the work in an operation."""
    source = wanted.source
    check(source)
    image_import.check_wish(parts, project, wanted)

    async def work(operation: Operation) -> None:
        async with reached(source) as there:
            await _take(parts, project, there, await there.find(), wanted, operation)

    return parts.operations.start("Downloading image", work, project=project, may_cancel=True)


def check(source: ImageSource | Source) -> None:
    """Invalid or Unsupported for a server that cannot be asked."""
    protocol = _PROTOCOLS.get(source.protocol, source.protocol)
    if protocol not in _SERVERS:
        raise Unsupported(f"Images cannot be fetched by the protocol {source.protocol!r} here: import the file instead")
    if not source.server.startswith("https://"):
        raise Invalid(f"Invalid server {source.server!r} to fetch an image from: https://HOST:PORT is expected")
    if not source.alias and not source.fingerprint:
        raise Invalid("Must specify one of alias or fingerprint for an image of another server")


@asynccontextmanager
async def reached(source: ImageSource) -> AsyncIterator[ImageServer]:
    """The server, reached for the while; its failures are told with its name."""
    driver = _SERVERS[_PROTOCOLS.get(source.protocol, source.protocol)]
    with named_errors(source):
        async with session(source) as opened:
            yield driver(opened, source)


async def _take(
    parts: Parts,
    project: str,
    there: ImageServer,
    offer: Offer,
    wanted: ImagePost,
    operation: Operation,
    *,
    cached: bool = False,
) -> ImageRecord:
    """Fetch the files, check that they are the image that was promised, and record it."""
    async with image_import.uploading(parts) as upload:
        teller = asyncio.ensure_future(_tell(operation, offer, upload))
        try:
            await there.fetch(offer, upload)
        finally:
            teller.cancel()
        if upload.digest.fingerprint != offer.fingerprint:
            raise Invalid(f"fingerprints don't match, got {upload.digest.fingerprint} expected {offer.fingerprint}")
        wanted.properties = offer.properties | strings(wanted.properties)
        wanted.filename = wanted.filename or offer.filename
        origin = came_from(there.source)
        return await image_import.record(parts, project, upload, wanted, operation, origin, cached=cached)


async def _tell(operation: Operation, offer: Offer, upload: Upload) -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(0.25)
        speed = int(upload.digest.size / max(time.monotonic() - began, 0.001))
        percent = min(100, upload.digest.size * 100 // max(offer.size, 1))
        operation.progress("download_progress", "rootfs", percent, speed)


def came_from(source: ImageSource) -> dict[str, str]:
    """What is kept of where an image came from."""
    return {
        "server": source.server,
        "protocol": _PROTOCOLS.get(source.protocol, source.protocol),
        "alias": source.alias or source.fingerprint,
        "certificate": source.certificate,
        "image_type": "container",
    }


async def for_instance(parts: Parts, project: str, wanted: Source, operation: Operation) -> ImageRecord:
    """The image that a new instance names on another server: it is fetched once, and kept for the next one.

    When the server cannot be reached, what was last fetched under that alias is used."""
    source = ImageSource(
        server=wanted.server,
        protocol=wanted.protocol,
        alias=wanted.alias,
        fingerprint=wanted.fingerprint,
        certificate=wanted.certificate,
        secret=wanted.secret,
        project=wanted.project,
    )
    place = images.home(parts, project)
    async with parts.locks.hold(f"image-of/{source.server}/{source.alias or source.fingerprint}"):
        try:
            async with reached(source) as there:
                offer = await there.find()
                if (known := parts.state.images.find(place, offer.fingerprint)) is not None:
                    return known
                automatic = keys.flag(server.settings(parts).config, "images.auto_update_cached") and bool(source.alias)
                wish = ImagePost(auto_update=automatic)
                return await _take(parts, project, there, offer, wish, operation, cached=True)
        except Unavailable:
            origin = came_from(source)
            held = [each for each in parts.state.images.all(place) if each.update_source == origin]
            if not held:
                raise
            return max(held, key=lambda each: each.uploaded_at)


def refresh(parts: Parts, record: ImageRecord) -> Operation:
    """Look whether there is something newer; images that came from no server have nothing newer to become."""

    async def work(operation: Operation) -> None:
        operation.update(refreshed=await renew(parts, record, operation))

    resources = {"images": [images.url(record.project, record.fingerprint)]}
    return parts.operations.start("Refreshing image", work, project=record.project, resources=resources)


async def renew(parts: Parts, record: ImageRecord, operation: Operation) -> bool:
    """Take what the image's alias stands for on its server now, in its place; false when it is the same still."""
    origin = record.update_source
    if not origin:
        return False
    names = ("server", "protocol", "alias", "certificate")
    source = ImageSource(**{key: str(origin.get(key, "")) for key in names})
    check(source)
    wish = ImagePost(auto_update=record.auto_update, public=record.public, profiles=record.profiles)
    async with reached(source) as there:
        offer = await there.find()
        if offer.fingerprint == record.fingerprint:
            return False
        newer = parts.state.images.find(record.project, offer.fingerprint)
        if newer is None:
            newer = await _take(parts, record.project, there, offer, wish, operation, cached=record.cached)
    async with parts.locks.hold(images.lock(record.fingerprint), images.lock(newer.fingerprint)):
        current = parts.state.images.find(record.project, record.fingerprint)
        if current is None:
            return True
        moved = [replace(alias, target=newer.fingerprint) for alias in images.aliases_of(parts, current)]
        async with parts.state.change() as transaction:
            transaction.put(replace(newer, last_used_at=current.last_used_at, uploaded_at=now()), *moved)
            transaction.delete(current)
        await images.forget_unless_used(parts, record.fingerprint)
    parts.events.lifecycle("image-refreshed", images.url(record.project, newer.fingerprint), record.project)
    return True
