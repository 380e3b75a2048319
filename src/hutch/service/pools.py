"""Storage pools: create, change, delete, and what is in them."""

import asyncio
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from hutch import registry
from hutch.errors import AlreadyExists, Invalid, NotFound
from hutch.schema.base import strings
from hutch.schema.storage import PoolPut, PoolRecord
from hutch.service import uses, warnings
from hutch.service.parts import Parts
from hutch.storage import drivers
from hutch.storage.base import StorageDriver


def url(name: str) -> str:
    return f"/1.0/storage-pools/{quote(name, safe='')}"


def used_by(parts: Parts, name: str) -> list[str]:
    """Instances and profiles with a disk on the pool, and its custom volumes."""
    customs = [
        f"{url(name)}/volumes/custom/{quote(each.name, safe='')}"
        + ("" if each.project == "default" else f"?project={quote(each.project, safe='')}")
        for each in parts.state.volumes.all(name)
    ]
    return uses.by_device(parts, lambda device: device.get("type") == "disk" and device.get("pool") == name) + customs


def document(parts: Parts, record: PoolRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "description": record.description,
        "driver": record.driver,
        "config": record.config,
        "status": "Created" if record.name in parts.pools else "Unavailable",
        "locations": ["none"],
        "used_by": used_by(parts, record.name),
    }


def editable(record: PoolRecord) -> dict[str, Any]:
    return {"description": record.description, "config": record.config}


def driver_class(name: str) -> type[StorageDriver]:
    if name not in registry.names(drivers):
        raise Invalid(f"Storage driver {name!r} is not known: {', '.join(registry.names(drivers))} are")
    found: type[StorageDriver] = registry.load(drivers, name)
    return found


def check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", name):
        raise Invalid(f"Invalid storage pool name {name!r}: letters, digits, dots, hyphens and underscores are allowed")


async def create(parts: Parts, wanted: PoolPut) -> PoolRecord:
    """Make a pool; it is recorded as pending first, so that the next daemon takes back what a crash left of it."""
    check_name(wanted.name)
    if not wanted.driver:
        raise Invalid("No driver provided")
    driver = driver_class(wanted.driver)
    async with parts.locks.hold(f"pool/{wanted.name}"):
        if parts.state.pools.find(wanted.name) is not None:
            raise AlreadyExists("Storage pool already exists")
        path = parts.directory / "storage-pools" / wanted.name
        config = await driver.check(strings(wanted.config), path)
        pool = driver(wanted.name, path, config)
        record = PoolRecord(
            name=wanted.name,
            driver=wanted.driver,
            description=wanted.description or "",
            config=config,
            pending=True,
        )
        await parts.state.put(record)
        try:
            await pool.create()
            await pool.activate()
            await parts.state.put(record := replace(record, pending=False))
        except BaseException:
            await asyncio.shield(take_back(parts, record, pool))
            raise
        parts.pools[record.name] = pool
    parts.events.lifecycle("storage-pool-created", url(record.name), "")
    return record


async def take_back(parts: Parts, record: PoolRecord, pool: StorageDriver) -> None:
    """Remove a pool that was not finished."""
    await pool.destroy()
    await parts.state.delete(record)


def running(parts: Parts, name: str) -> StorageDriver:
    if (pool := parts.pools.get(name)) is None:
        raise NotFound(f"Storage pool {name!r} not found")
    return pool


async def put(parts: Parts, name: str, wanted: PoolPut, check: Callable[[PoolRecord], None], *, merge: bool) -> None:
    async with parts.locks.hold(f"pool/{name}"):
        record = parts.state.pools.get(name)
        check(record)
        config = record.config | strings(wanted.config) if merge else strings(wanted.config)
        config = await running(parts, name).update({key: value for key, value in config.items() if value != ""})
        description = record.description if wanted.description is None and merge else wanted.description or ""
        await parts.state.put(replace(record, config=config, description=description))
    parts.events.lifecycle("storage-pool-updated", url(name), "")


async def delete(parts: Parts, name: str) -> None:
    async with parts.locks.hold(f"pool/{name}"):
        record = parts.state.pools.get(name)
        if using := used_by(parts, name):
            raise Invalid(f"The storage pool is currently in use by {', '.join(using)}")
        pool = parts.pools.get(name) or driver_class(record.driver)(
            name, parts.directory / "storage-pools" / name, record.config
        )
        await pool.destroy()
        parts.pools.pop(name, None)
        await parts.state.delete(record)
        await warnings.forget(parts, url(name))
    parts.events.lifecycle("storage-pool-deleted", url(name), "")


async def resources(parts: Parts, name: str) -> dict[str, Any]:
    space = await running(parts, name).space()
    return {
        "space": {"used": space.used, "total": space.total},
        "inodes": {"used": space.inodes_used, "total": space.inodes_total},
    }
