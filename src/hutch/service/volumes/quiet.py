"""Keeps the guests that have a volume from writing while it is read."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from hutch.schema.storage import VolumeRecord
from hutch.service.parts import Parts
from hutch.service.volumes import uses


async def quietly(parts: Parts, record: VolumeRecord, take: Callable[[], Awaitable[None]]) -> None:
    """Do `take` while every guest that has the volume is frozen."""
    async with AsyncExitStack() as thaw:
        for each in uses.running(parts, record):
            running = parts.runtime.running(each.project, each.name)
            if running is not None and not running.frozen:
                await parts.runtime.freeze(each.project, each.name)
                thaw.push_async_callback(parts.runtime.unfreeze, each.project, each.name)
        await take()
