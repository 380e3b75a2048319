"""What happens to fetched images by themselves: they follow their servers, and those that nobody uses go."""

from datetime import datetime, timedelta

from hutch.schema.image import ImageRecord
from hutch.schema.keys import server as keys
from hutch.service import image_fetch, images, server
from hutch.service.parts import Parts

_LOCK = "image-upkeep"


def begin(parts: Parts, after: datetime, until: datetime) -> None:
    """Start, beside what else is due between the two moments, what is due of images."""
    if not parts.locks.held(_LOCK):
        parts.tasks.spawn(_all(parts, after, until), "upkeep of images")


async def _all(parts: Parts, after: datetime, until: datetime) -> None:
    async with parts.locks.hold(_LOCK):
        hours = keys.number(server.settings(parts).config, "images.auto_update_interval")
        if has_turned(hours, after, until):
            await update(parts)
        if has_turned(1, after, until):
            await expire(parts, until)


def has_turned(hours: int, after: datetime, until: datetime) -> bool:
    """Whether a stretch of so many hours, counted from 1970 on, ended between the two moments; never for 0."""
    return hours > 0 and int(after.timestamp()) // (hours * 3600) != int(until.timestamp()) // (hours * 3600)


async def update(parts: Parts) -> None:
    """Look for something newer of every image that is to follow its server; a failure is told by the image's operation."""
    for record in parts.state.images.all():
        if record.auto_update and record.update_source:
            await image_fetch.refresh(parts, record).wait()


async def expire(parts: Parts, now: datetime) -> None:
    """Remove the images fetched for instances that were not used for the days that the settings give them."""
    days = keys.number(server.settings(parts).config, "images.remote_cache_expiry")
    for record in parts.state.images.all():
        if record.cached and days > 0 and last_wanted(record) + timedelta(days=days) <= now:
            await images.delete(parts, record).wait()


def last_wanted(record: ImageRecord) -> datetime:
    return max(record.last_used_at, record.uploaded_at)
