"""Instances over the life of the daemon: found again at its start, started with the host, stopped with it."""

import asyncio
import contextlib
import logging
import re
from itertools import groupby

from msgspec.structs import replace

from hutch.device.veth import MARK
from hutch.errors import HutchError, Invalid
from hutch.kernel import ip
from hutch.runtime.base import Running
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.keys import instance as keys
from hutch.service import warnings
from hutch.service.instances import cpus, expand, launch, memory, power, rebuild, rename, render, stateful, volume
from hutch.service.parts import Parts, instance_lock
from hutch.storage.base import Volume

log = logging.getLogger(__name__)

_AT_ONCE = 12


async def reconcile(parts: Parts) -> None:
    """Finish or take back what a crash cut short: volumes half made, half renamed, half removed."""
    for doomed in parts.state.doomed.all():
        pool = parts.pools.get(doomed.pool)
        if pool is None:
            continue
        half = Volume(doomed.type, doomed.project, doomed.name, doomed.snapshot)
        if doomed.renamed_from and (doomed.snapshot or doomed.type == "custom"):
            if await pool.has(half):
                await pool.rename(half, doomed.renamed_from)
            if doomed.type == "container":
                renamed = SnapshotRecord(project=doomed.project, instance=doomed.name, name=doomed.snapshot)
                await asyncio.to_thread(memory.rename, parts, renamed, doomed.renamed_from)
            await parts.state.delete(doomed)
        elif doomed.replaced:
            await rebuild.back(parts, pool, doomed)
        elif doomed.renamed_from:
            await rename.back(parts, pool, doomed.project, doomed.name, doomed.renamed_from)
            await parts.state.delete(doomed)
        else:
            log.warning("removing the unfinished volume %s of pool %s", doomed.name, doomed.pool)
            await volume.remove(parts, pool, doomed)


async def adopt(parts: Parts) -> None:
    """Find every guest that runs already, and clear up after those that ended while no daemon ran."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(record: InstanceRecord) -> None:
        async with turn:
            await adopt_one(parts, record)
            if parts.state.instances.find(record.project, record.name) is not None:
                await memory.tidy(parts, record)

    await asyncio.gather(*(one(record) for record in parts.state.instances.all()))
    await cpus.settle(parts)


async def adopt_one(parts: Parts, record: InstanceRecord) -> None:
    """Find the guest again if it runs, or clear up after it."""
    directory = parts.instance_directory(record.project, record.name)
    if record.config.get("volatile.last_state.power") != "RUNNING":
        return
    found = await parts.runtime.adopt(record.project, record.name, directory)
    record = await _drop_half_plugged(parts, record)
    parts.live[record.project, record.name] = power.live_devices(parts, record)
    if isinstance(found, Running):
        await power.found(parts, record, found)
        with contextlib.suppress(Invalid):
            cpus.want(parts, (record.project, record.name), expand.of(parts.state, record)[0].get("limits.cpu", ""))
        try:
            await launch.guest_folder(parts, record, expand.of(parts.state, record)[0])
        except (HutchError, OSError) as error:
            log.warning("instance %s has no API of its own now: %s", record.name, error)
    elif found == "stop":
        await power.ended(parts, record.project, record.name, found)
    elif found is None or found == "reboot":
        log.info("instance %s went down %s", record.name, "to reboot" if found else "with the host")
        await power.cleared(parts, record.project, record.name, power="RUNNING")
    if (current := parts.state.instances.find(record.project, record.name)) is not None:
        await stateful.reconcile(parts, current)


async def _drop_half_plugged(parts: Parts, record: InstanceRecord) -> InstanceRecord:
    """Links of nics that were being plugged when the daemon died: written down, but no devices of the instance yet."""
    devices = expand.of(parts.state, record)[1]
    pattern = re.compile(r"volatile\.(.+)\.host_name")
    names = {match[1]: key for key in record.config if (match := pattern.fullmatch(key)) and match[1] not in devices}
    if not names:
        return record
    for key in names.values():
        link = await ip.interface(record.config[key])
        if link is not None and link.alias.startswith(MARK):
            await ip.delete(link.name)
    config = {
        key: value
        for key, value in record.config.items()
        if not any(key.startswith(f"volatile.{name}.") for name in names)
    }
    await parts.state.put(changed := replace(record, config=config))
    return changed


def wants_start(parts: Parts, record: InstanceRecord, *, host_booted: bool) -> bool:
    """Whether the instance is started now: boot.autostart when the host has booted, else its last power state."""
    config = expand.of(parts.state, record)[0]
    was_running = config.get("volatile.last_state.power") == "RUNNING"
    automatic = config.get("boot.autostart", "")
    if host_booted and automatic:
        return keys.flag(config, "boot.autostart")
    return was_running


async def autostart(parts: Parts, *, host_booted: bool) -> None:
    """Start what should run, by falling boot.autostart.priority, with each one's delay after it."""
    wanted = [
        record
        for record in parts.state.instances.all()
        if parts.runtime.running(record.project, record.name) is None
        and wants_start(parts, record, host_booted=host_booted)
    ]
    for record in sorted(wanted, key=lambda each: (-_number(parts, each, "boot.autostart.priority"), each.name)):
        where = render.url(record.project, record.name)
        try:
            await power.start(parts, record.project, record.name, stateful=record.stateful)
        except HutchError as error:
            log.error("instance %s was not started: %s", record.name, error)
            await warnings.told(parts, warnings.Kind.AUTOSTART, where, record.project, str(error))
            await _stopped(parts, record)
            continue
        await warnings.passed(parts, warnings.Kind.AUTOSTART, about=where)
        if delay := _number(parts, record, "boot.autostart.delay"):
            await asyncio.sleep(delay)


async def _stopped(parts: Parts, record: InstanceRecord) -> None:
    current = parts.state.instances.find(record.project, record.name)
    if current is not None:
        await parts.state.put(replace(current, config=current.config | {"volatile.last_state.power": "STOPPED"}))


async def shutdown(parts: Parts) -> None:
    """Stop every guest cleanly, by falling boot.stop.priority, each within its boot.host_shutdown_timeout, then by force.

    The last power state stays RUNNING, so that the next start of the daemon brings them back.
    """
    running = [
        record
        for record in parts.state.instances.all()
        if parts.runtime.running(record.project, record.name) is not None
    ]

    def priority(record: InstanceRecord) -> int:
        return -_number(parts, record, "boot.stop.priority")

    for _, group in groupby(sorted(running, key=priority), priority):
        await asyncio.gather(*(_shut_down(parts, record) for record in group))


async def _shut_down(parts: Parts, record: InstanceRecord) -> None:
    project, name = record.project, record.name
    action = expand.of(parts.state, record)[0].get("boot.host_shutdown_action")
    async with parts.locks.hold(instance_lock(project, name)):
        running = parts.runtime.running(project, name)
        if running is None:
            return
        if action == "stateful-stop" and await _saved(parts, record, running):
            return
        if action != "force-stop":
            await parts.runtime.shutdown(project, name)
        seconds = 0 if action == "force-stop" else _number(parts, record, "boot.host_shutdown_timeout")
        if not seconds or not await parts.runtime.wait(project, name, seconds):
            await parts.runtime.kill(project, name)
        await power.cleared(parts, project, name, power="RUNNING")
    parts.events.lifecycle("instance-shutdown", render.url(project, name), project)


async def _saved(parts: Parts, record: InstanceRecord, running: Running) -> bool:
    """Stop the guest with its state; false, with a word in the log, when that cannot be: a clean stop is the next best."""
    try:
        await power.save_held(parts, record, running, power="RUNNING")
    except HutchError as error:
        log.warning("instance %s is stopped without its state: %s", record.name, error)
        return parts.runtime.running(record.project, record.name) is None
    return True


def _number(parts: Parts, record: InstanceRecord, key: str) -> int:
    return keys.number(expand.of(parts.state, record)[0], key)
