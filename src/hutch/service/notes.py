"""What is kept on the pools and beside them for the day on which the database is lost: see service.recover.

A backup.yaml beside each volume, DIR/storage-pools/POOL.yaml of each pool and DIR/networks/NETWORK.yaml of each
network; written a moment after what they tell of has changed, by one task that follows the store.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import yaml

from hutch.access.projects import Kind, home
from hutch.errors import HutchError
from hutch.kernel import tree
from hutch.schema.backup import BackupIndex
from hutch.schema.base import to_builtins
from hutch.schema.network import NetworkRecord
from hutch.schema.storage import PoolRecord
from hutch.service import pools
from hutch.service.backups import describe
from hutch.service.instances import expand, volume
from hutch.service.parts import Parts
from hutch.service.volumes import settings
from hutch.storage.base import StorageDriver, Volume

log = logging.getLogger(__name__)

_CALM = 1.0
"""Seconds that are waited for more changes of the same thing."""
Key = tuple[str, ...]


FOLDERS = {"pools": "storage-pools", "networks": "networks"}


def file(parts: Parts, kind: str, name: str) -> Path:
    """Where the note of a pool or network is."""
    return parts.directory / FOLDERS[kind] / f"{name}.yaml"


async def run(parts: Parts) -> None:
    """Bring every note up to date, and keep them so until the daemon ends."""
    changed, wake = _everything(parts), asyncio.Event()
    wake.set()
    follower = asyncio.ensure_future(_follow(parts, changed, wake))
    try:
        while True:
            await wake.wait()
            await asyncio.sleep(_CALM)
            wake.clear()
            while changed:
                await _write(parts, changed.pop())
    finally:
        follower.cancel()


def _everything(parts: Parts) -> set[Key]:
    state = parts.state
    return (
        {("pools", each.name) for each in state.pools.all()}
        | {("networks", each.project, each.name) for each in state.networks.all()}
        | {("instances", each.project, each.name) for each in state.instances.all()}
        | {("volumes", each.pool, each.project, each.name) for each in state.volumes.all()}
    )


async def _follow(parts: Parts, changed: set[Key], wake: asyncio.Event) -> None:
    async for change in parts.state.store.watch("/"):
        kind, *names = [word.replace("\0", "/") for word in change.key.strip("/").split("/")]
        match kind:
            case "pools" | "networks" | "instances" | "volumes":
                changed.add((kind, *names))
            case "snapshots":
                changed.add(("instances", *names[:2]))
            case "volume-snapshots":
                changed.add(("volumes", *names[:3]))
            case "profiles" | "projects":
                changed |= _everything(parts)
            case _:
                continue
        wake.set()


async def _write(parts: Parts, key: Key) -> None:
    try:
        match key:
            case ("pools", name):
                await _write_plain(file(parts, "pools", name), parts.state.pools.find(name))
            case ("networks", project, name):
                await _write_plain(file(parts, "networks", name), parts.state.networks.find(project, name))
            case ("instances", project, name):
                await _write_instance(parts, project, name)
            case ("volumes", pool, project, name):
                await _write_volume(parts, pool, project, name)
    except (HutchError, OSError) as error:
        log.warning("what is needed to recover %s was not written: %s", "/".join(key), error)


async def _write_plain(path: Path, record: PoolRecord | NetworkRecord | None) -> None:
    if record is None:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        return
    text = yaml.dump(to_builtins(record), Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
    await asyncio.to_thread(tree.write, path, text)


async def _write_instance(parts: Parts, project: str, name: str) -> None:
    if (record := parts.state.instances.find(project, name)) is None:
        return
    state = parts.state
    snapshots = state.snapshots.all(project, name)
    driver = volume.pool(parts, expand.of(state, record)[1])
    place = home(state, project, Kind.PROFILES)
    version = [
        state.instances.revision(project, name),
        state.pools.revision(driver.name),
        state.projects.revision(project),
        *(state.profiles.revision(place, each) for each in record.profiles),
        *(state.snapshots.revision(project, name, each.name) for each in snapshots),
    ]
    await _note(
        parts,
        driver,
        volume.of(record),
        version,
        lambda: describe.instance(parts, record, snapshots, driver.name),
    )


async def _write_volume(parts: Parts, pool: str, project: str, name: str) -> None:
    if (record := parts.state.volumes.find(pool, project, name)) is None:
        return
    state = parts.state
    snapshots = state.volume_snapshots.all(pool, project, name)
    version = [
        state.volumes.revision(pool, project, name),
        state.pools.revision(pool),
        state.projects.revision(project),
        *(state.volume_snapshots.revision(pool, project, name, each.name) for each in snapshots),
    ]
    driver = pools.running(parts, pool)
    await _note(parts, driver, settings.of(record), version, lambda: describe.volume(parts, record, snapshots))


async def _note(
    parts: Parts, driver: StorageDriver, place: Volume, version: list[int], described: Callable[[], BackupIndex]
) -> None:
    """Write the note unless its first line says that it is of these revisions, as after a mere start of the daemon."""
    head = f"# of the revisions {' '.join(map(str, version))}\n"
    if (await driver.noted(place)).startswith(head):
        return
    config = described().config
    assert config is not None
    config.project = to_builtins(parts.state.projects.get(place.project))
    await driver.note(place, head + await asyncio.to_thread(describe.text, config))
