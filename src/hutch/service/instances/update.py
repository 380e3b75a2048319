"""Change an instance's settings: PUT replaces, PATCH merges; what is live is applied to the running guest."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from uuid import uuid4

from msgspec.structs import replace

from hutch.device import load
from hutch.device.base import Device
from hutch.errors import HutchError, Invalid
from hutch.runtime.base import Running
from hutch.schema.base import Config, Devices, strings
from hutch.schema.instance import InstancePut, InstanceRecord
from hutch.schema.keys import instance as keys
from hutch.service import allow, guest
from hutch.service.instances import cpus, expand, limits, render, rules, surroundings, throttle, volume
from hutch.service.parts import Parts, instance_lock


async def put(
    parts: Parts, project: str, name: str, wanted: InstancePut, check: Callable[[InstanceRecord], None]
) -> None:
    """Replace the settings; `check` (the ETag) is called with the record under the lock."""
    async with parts.locks.hold(instance_lock(project, name)):
        record = parts.state.instances.get(project, name)
        check(record)
        config = _keep_volatile(record.config, strings(wanted.config))
        await _change(
            parts,
            record,
            replace(
                record,
                architecture=wanted.architecture or record.architecture,
                description=wanted.description,
                ephemeral=record.ephemeral if wanted.ephemeral is None else wanted.ephemeral,
                profiles=[] if wanted.profiles is None else wanted.profiles,
                config=config,
                devices={device: strings(settings) for device, settings in (wanted.devices or {}).items()},
            ),
        )


async def patch(
    parts: Parts, project: str, name: str, wanted: InstancePut, check: Callable[[InstanceRecord], None]
) -> None:
    """Merge config and devices one level deep; members that are absent stay as they are."""
    async with parts.locks.hold(instance_lock(project, name)):
        record = parts.state.instances.get(project, name)
        check(record)
        config = {key: value for key, value in (record.config | strings(wanted.config)).items() if value != ""}
        devices = record.devices | {device: strings(each) for device, each in (wanted.devices or {}).items()}
        await _change(
            parts,
            record,
            replace(
                record,
                architecture=wanted.architecture or record.architecture,
                description=wanted.description or record.description,
                ephemeral=record.ephemeral if wanted.ephemeral is None else wanted.ephemeral,
                profiles=record.profiles if wanted.profiles is None else wanted.profiles,
                config=config,
                devices=devices,
            ),
        )


def _keep_volatile(old: Config, new: Config) -> Config:
    """Clients may send volatile.* back as they read it, or leave it out: what hutch recorded stays."""
    wanted = {key: value for key, value in new.items() if value != ""}
    return {key: value for key, value in old.items() if key.startswith("volatile.")} | wanted


async def _change(parts: Parts, old: InstanceRecord, new: InstanceRecord) -> None:
    project, name = old.project, old.name
    before = expand.of(parts.state, old)
    allow.volatile(parts, project, name, old.config, new.config)
    async with allow.settled(parts, project):
        after = rules.check_settings(parts, project, name, new.profiles, new.config, new.devices)
        _check_root(before[1], after[1])
        new = await apply(parts, _new_to_cloud_init(new, before[0], after[0]), before, after)
        await parts.state.put(new)
    await tell_guest(parts, new, before, after)
    parts.events.lifecycle("instance-updated", render.url(project, name), project)


def _new_to_cloud_init(record: InstanceRecord, before: Config, after: Config) -> InstanceRecord:
    """With other data cloud-init is to do its work again, at the next boot."""
    if all(before.get(key) == after.get(key) for key in guest.CLOUD_INIT_KEYS):
        return record
    return replace(record, config=record.config | {guest.INSTANCE_ID: str(uuid4())})


async def tell_guest(
    parts: Parts, record: InstanceRecord, before: tuple[Config, Devices], after: tuple[Config, Devices]
) -> None:
    """Once the settings are stored: a running guest is told of them by its API, or has that given or taken."""
    if parts.runtime.running(record.project, record.name) is None:
        return
    if guest.allowed(after[0]):
        await parts.doors.open(record.project, record.name)
        guest.tell_changes(parts, record, before, after)
    elif guest.allowed(before[0]):
        await parts.doors.close(record.project, record.name)


def _check_root(before: Devices, after: Devices) -> None:
    old, new = expand.root_disk(before), expand.root_disk(after)
    if old and new and old[1].get("pool") != new[1].get("pool"):
        raise Invalid("The storage pool of the root disk cannot be changed by an update: move the instance")


async def apply(
    parts: Parts, record: InstanceRecord, before: tuple[Config, Devices], after: tuple[Config, Devices]
) -> InstanceRecord:
    """Make a running guest fit its new settings; the record with the volatile values that this needed.

    When a step fails, the steps before it are taken back and the failure is raised.
    """
    record = await _forget_removed(parts, record, before[1], after)
    running = parts.runtime.running(record.project, record.name)
    if running is None:
        await _resize(parts, record, before[1], after[1])
        return record
    for key in before[0].keys() | after[0].keys():
        if before[0].get(key) != after[0].get(key) and key in keys.KEYS and not keys.KEYS[key].live:
            raise Invalid(f"The key {key} cannot be changed while the instance is running")
    async with AsyncExitStack() as undo:
        old_limits, new_limits = limits.of(before[0]), limits.of(after[0])
        changed = {key: value for key, value in new_limits.items() if old_limits.get(key) != value}
        changed |= {key: limits.LIFTED[key] for key in old_limits.keys() - new_limits.keys()}
        if changed:
            back = {key: old_limits.get(key, limits.LIFTED[key]) for key in changed}
            undo.push_async_callback(parts.runtime.set_limits, record.project, record.name, back)
            await parts.runtime.set_limits(record.project, record.name, changed)
        await _throttle(parts, record, before[1], after[1], undo)
        await _pin(parts, (record.project, record.name), before[0], after[0], undo)
        record = await _replug(parts, record, running, before, after, undo)
        await _resize(parts, record, before[1], after[1])
        undo.pop_all()
    return record


async def _throttle(
    parts: Parts, record: InstanceRecord, before: Devices, after: Devices, undo: AsyncExitStack
) -> None:
    old, new = await throttle.of(parts, before), await throttle.of(parts, after)
    if changed := throttle.changes(old, new):
        undo.push_async_callback(parts.runtime.set_limits, record.project, record.name, throttle.changes(new, old))
        await parts.runtime.set_limits(record.project, record.name, changed)


async def _pin(parts: Parts, key: tuple[str, str], before: Config, after: Config, undo: AsyncExitStack) -> None:
    old, new = before.get("limits.cpu", ""), after.get("limits.cpu", "")
    if old != new:
        undo.push_async_callback(cpus.settle, parts)
        undo.callback(cpus.want, parts, key, old)
        cpus.want(parts, key, new)
        await cpus.settle(parts)


async def _resize(parts: Parts, record: InstanceRecord, before: Devices, after: Devices) -> None:
    if (size := volume.size(after)) != volume.size(before):
        await volume.limit(volume.pool(parts, after), volume.of(record), size)


def _only_resized(before: Devices, after: Devices) -> set[str]:
    """The names of the root disk, when no more than its size has changed: that needs no plugging."""
    old, new = expand.root_disk(before), expand.root_disk(after)
    if old is None or new is None or old[1] | {"size": ""} != new[1] | {"size": ""}:
        return set()
    return {old[0], new[0]}


async def _forget_removed(
    parts: Parts, record: InstanceRecord, before: Devices, after: tuple[Config, Devices]
) -> InstanceRecord:
    """Volatile values of devices that are no more."""
    gone = before.keys() - after[1].keys()
    if not gone or parts.runtime.running(record.project, record.name) is not None:
        return record
    config = {
        key: value
        for key, value in record.config.items()
        if not any(key.startswith(f"volatile.{name}.") for name in gone)
    }
    return replace(record, config=config)


async def _replug(
    parts: Parts,
    record: InstanceRecord,
    running: Running,
    before: tuple[Config, Devices],
    after: tuple[Config, Devices],
    undo: AsyncExitStack,
) -> InstanceRecord:
    key = (record.project, record.name)
    live = {device.name: device for device in parts.live.get(key, [])}
    stays = _only_resized(before[1], after[1])
    tuned = {name for name, device in live.items() if _is_tuned(device, before, after)}
    same = stays | tuned
    gone = [name for name in before[1] if name not in same and before[1][name] != after[1].get(name)]
    new = [name for name in after[1] if name not in same and after[1][name] != before[1].get(name)]
    for name in [*gone, *new]:
        if name in live and not live[name].live:
            raise Invalid(f"The device {name!r} cannot be changed while the instance is running")
    for name in gone:
        if (device := live.pop(name, None)) is not None:
            await device.unplug(running)
            await device.release()
            undo.push_async_callback(_plug_again, device, running)
    config = {
        each: value
        for each, value in record.config.items()
        if not any(each.startswith(f"volatile.{name}.") and name not in after[1] for name in gone)
    }
    for name in sorted(tuned):
        device, _ = _fresh(parts, record, config, after, name)
        undo.push_async_callback(live[name].tune, device)
        await device.tune(live[name])
        live[name] = device
    for name in new:
        device, fresh = _fresh(parts, record, config, after, name)
        config |= fresh
        await parts.state.put(
            replace(parts.state.instances.get(*key), config=parts.state.instances.get(*key).config | fresh)
        )
        undo.push_async_callback(device.release)
        await device.plug(running)
        live[name] = device
    parts.live[key] = [live[name] for name in sorted(live)]
    return replace(record, config=config)


def _is_tuned(device: Device, before: tuple[Config, Devices], after: tuple[Config, Devices]) -> bool:
    old, new = before[1].get(device.name), after[1].get(device.name)
    if old is None or new is None:
        return False
    changed = {key for key in old.keys() | new.keys() if old.get(key, "") != new.get(key, "")}
    followed = any(before[0].get(key) != after[0].get(key) for key in device.follows)
    return changed <= device.tunable and bool(changed or followed)


def _fresh(
    parts: Parts, record: InstanceRecord, config: Config, after: tuple[Config, Devices], name: str
) -> tuple[Device, Config]:
    """A device to plug, and the volatile values that must be recorded first."""
    whole = after[0] | config
    context = surroundings.context(parts, record.project, record.name, whole, after[1])
    device = load.device(name, after[1][name], context)
    if not device.live:
        raise Invalid(f"The device {name!r} cannot be added while the instance is running")
    fresh = {f"volatile.{name}.{key}": value for key, value in device.volatile().items()}
    context = surroundings.context(parts, record.project, record.name, whole | fresh, after[1])
    return load.device(name, after[1][name], context), fresh


async def _plug_again(device: Device, running: Running) -> None:
    try:
        await device.plug(running)
    except HutchError as error:
        raise HutchError(f"the device {device.name!r} could not be given back: {error}") from error


def check_now(parts: Parts, record: InstanceRecord, wanted: InstancePut) -> None:
    """Refuse a PUT that cannot succeed before its operation begins."""
    config = _keep_volatile(record.config, strings(wanted.config))
    devices = {device: strings(settings) for device, settings in (wanted.devices or {}).items()}
    allow.volatile(parts, record.project, record.name, record.config, config)
    rules.check_settings(parts, record.project, record.name, wanted.profiles or [], config, devices)
