"""Start, stop, restart and freeze; and what happens when a guest ends by itself."""

import asyncio
import logging
import os
from contextlib import AsyncExitStack

from msgspec.structs import replace

from hutch.device import load
from hutch.device.base import Device
from hutch.errors import Conflict, Forbidden, HutchError, Invalid
from hutch.image import templates
from hutch.kernel import mount
from hutch.kernel.idmap import IdMap
from hutch.runtime.plan import LaunchPlan, Mount, Syscalls
from hutch.schema.base import Config, now
from hutch.schema.instance import InstanceRecord, StatePut
from hutch.schema.keys import instance as keys
from hutch.schema.keys import walls
from hutch.service import guest
from hutch.service.instances import cpus, delete, expand, isolate, limits, render, surroundings, volume
from hutch.service.instances import stateful as state
from hutch.service.parts import Parts, instance_lock
from hutch.storage.base import StorageDriver
from hutch.work.operations import Operation

log = logging.getLogger(__name__)

ACTIONS = {
    "start": "Starting instance",
    "stop": "Stopping instance",
    "restart": "Restarting instance",
    "freeze": "Freezing instance",
    "unfreeze": "Unfreezing instance",
}


def change(parts: Parts, project: str, name: str, wanted: StatePut) -> Operation:
    """A PUT of an instance's state."""
    if wanted.action not in ACTIONS:
        raise Invalid(f"Unknown state action {wanted.action!r}: {', '.join(ACTIONS)} are known")
    parts.state.instances.get(project, name)

    async def work(operation: Operation) -> None:
        await act(parts, project, name, wanted)

    return parts.operations.start(
        ACTIONS[wanted.action], work, project=project, resources=render.resources(project, name)
    )


async def act(parts: Parts, project: str, name: str, wanted: StatePut) -> None:
    timeout = float(wanted.timeout) if wanted.timeout > 0 else None
    if wanted.stateful and wanted.action not in ("start", "stop"):
        raise Invalid(f"An instance cannot {wanted.action} with its state")
    match wanted.action:
        case "start":
            await start(parts, project, name, stateful=wanted.stateful)
        case "stop" if wanted.stateful:
            await save(parts, project, name)
        case "stop":
            await stop(parts, project, name, force=wanted.force, timeout=timeout)
        case "restart":
            await restart(parts, project, name, force=wanted.force, timeout=timeout)
        case "freeze" | "unfreeze":
            await freeze(parts, project, name, frozen=wanted.action == "freeze")


async def start(parts: Parts, project: str, name: str, *, stateful: bool = False) -> None:
    """Boot, or with `stateful` go on where a stateful stop left off; without it a state that there is is dropped."""
    async with parts.locks.hold(instance_lock(project, name)):
        record = parts.state.instances.get(project, name)
        running = parts.runtime.running(project, name)
        if running is not None and running.frozen:
            await parts.runtime.unfreeze(project, name)
            parts.events.lifecycle("instance-resumed", render.url(project, name), project)
            return
        if running is not None:
            raise Conflict("The instance is already running")
        if (project, name) in parts.live:
            await cleared(parts, project, name)
            record = parts.state.instances.get(project, name)
        if stateful and not record.stateful:
            raise Invalid("Instance has no existing state to restore")
        if record.stateful and not stateful:
            record = await state.remember(parts, record, stateful=False)
        await boot(parts, record)
        parts.events.lifecycle("instance-started", render.url(project, name), project)


async def boot(parts: Parts, record: InstanceRecord) -> None:
    """Bring up an instance whose lock is held, from its state if it has one; on failure the host is as before."""
    project, name = record.project, record.name
    if keys.flag(expand.of(parts.state, record)[0], "security.protection.start"):
        raise Forbidden("Instance is protected from being started: unset security.protection.start to start it")
    record = await _prepare(parts, record)
    config, devices = expand.of(parts.state, record)
    pool = volume.pool(parts, devices)
    idmap = volume.idmap_of(config)
    directory = parts.instance_directory(project, name)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(_remember_power, parts, project, name, "STOPPED")
        undo.push_async_callback(asyncio.to_thread, mount.detach, directory / "rootfs")
        undo.push_async_callback(cpus.leave, parts, (project, name))
        pinned = cpus.want(parts, (project, name), config.get("limits.cpu", ""))
        await _mount_root(parts, record, pool, idmap, config)
        slave = await parts.consoles.open(project, name, directory, idmap)
        undo.push_async_callback(parts.doors.close, project, name)
        mounts = await guest_folder(parts, record, config)
        plan = LaunchPlan(
            project=project,
            name=name,
            directory=directory,
            rootfs=directory / "rootfs",
            hostname=name,
            architecture=record.architecture,
            privileged=keys.privileged(config),
            nesting=keys.flag(config, "security.nesting"),
            idmap=idmap,
            console=slave,
            environment=_prefixed(config, "environment."),
            limits=limits.of(config) | pinned,
            rlimits=_prefixed(config, "limits.kernel."),
            sysctls=_prefixed(config, "linux.sysctl."),
            syscalls=_syscalls(config),
            raw=config.get("raw.lxc", ""),
            mounts=mounts,
            images=state.images(parts, record) if record.stateful else None,
        )
        plugged = await _plan_devices(parts, record, config, devices, plan, undo)
        await (state.restore(parts, plan) if record.stateful else parts.runtime.start(plan))
        parts.live[project, name] = plugged
        undo.pop_all()
    if pinned:
        parts.pinned[project, name] = pinned["cpuset.cpus"]
        await cpus.settle(parts)
    if record.stateful:
        await state.remember(parts, record, stateful=False)
    await _remember_power(parts, project, name, "RUNNING")


def _prefixed(config: Config, prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}


async def guest_folder(parts: Parts, record: InstanceRecord, config: Config) -> list[Mount]:
    """The folder with the socket of the guest's API, by both its names; without a socket if the guest may not have it."""
    project, name = record.project, record.name
    folder = parts.guest_folder(project, name)
    if guest.allowed(config):
        await parts.doors.open(project, name)
    else:
        await asyncio.to_thread(folder.mkdir, mode=0o755, exist_ok=True)
    return [Mount(str(folder), f"dev/{path}", options="bind,ro,create=dir") for path in ("lxd", "incus")]


def _syscalls(config: Config) -> Syscalls:
    return Syscalls(
        default=keys.flag(config, "security.syscalls.deny_default"),
        deny=walls.system_calls(config.get("security.syscalls.deny", "")),
        allow=walls.system_calls(config.get("security.syscalls.allow", "")),
        raw=config.get("raw.seccomp", ""),
    )


async def _prepare(parts: Parts, record: InstanceRecord) -> InstanceRecord:
    """Write down what this start will make on the host, before it is made, in one commit."""
    config, devices = expand.of(parts.state, record)
    context = surroundings.context(parts, record.project, record.name, config)
    fresh: Config = {}
    for name, settings in devices.items():
        device = load.device(name, settings, context)
        device.check()
        fresh |= {f"volatile.{name}.{key}": value for key, value in device.volatile().items()}
    fresh["volatile.last_state.power"] = "RUNNING"
    async with parts.locks.hold(isolate.LOCK):
        fresh |= isolate.allocate(parts, record, config)
        record = replace(record, config=record.config | fresh, last_used_at=now())
        await parts.state.put(record)
    return record


async def _mount_root(
    parts: Parts, record: InstanceRecord, pool: StorageDriver, idmap: list[IdMap], config: Config
) -> None:
    """The root filesystem at DIR/instances/PROJECT/NAME/rootfs, its templates applied."""
    rootfs = parts.instance_directory(record.project, record.name) / "rootfs"
    fd = await pool.mount(volume.of(record), idmap)
    try:
        if not record.stateful:
            await _apply_templates(parts, record, fd, idmap, config)
            await state.prepare(fd, idmap, config)
        await asyncio.to_thread(mount.detach, rootfs)
        await asyncio.to_thread(mount.attach, fd, rootfs)
    finally:
        os.close(fd)


async def _apply_templates(parts: Parts, record: InstanceRecord, fd: int, idmap: list[IdMap], config: Config) -> None:
    pending = record.config.get("volatile.apply_template", "")
    variables = {
        "instance": {
            "name": record.name,
            "architecture": record.architecture,
            "ephemeral": record.ephemeral,
            "privileged": keys.privileged(config),
            "type": record.type,
        },
        "config": config,
        "devices": expand.of(parts.state, record)[1],
    }
    triggers = [pending, "start"] if pending else ["start"]
    await templates.apply(triggers, fd, parts.instance_directory(record.project, record.name), variables, idmap)


async def _plan_devices(
    parts: Parts,
    record: InstanceRecord,
    config: Config,
    devices: dict[str, Config],
    plan: LaunchPlan,
    undo: AsyncExitStack,
) -> list[Device]:
    context = surroundings.context(parts, record.project, record.name, config)
    made = []
    for name in sorted(devices):
        device = load.device(name, devices[name], context)
        undo.push_async_callback(device.release)
        await device.plan(plan)
        made.append(device)
    return made


async def stop(parts: Parts, project: str, name: str, *, force: bool = False, timeout: float | None = None) -> None:
    """Ask the guest to power off, for `timeout` seconds (None: as long as it takes), or end it by `force`."""
    async with parts.locks.hold(instance_lock(project, name)):
        record = parts.state.instances.get(project, name)
        running = parts.runtime.running(project, name)
        if running is None:
            raise Conflict("The instance is already stopped")
        await _end(parts, record, force=force, timeout=timeout)
        parts.events.lifecycle("instance-stopped" if force else "instance-shutdown", render.url(project, name), project)
        if record.ephemeral:
            await delete.now_held(parts, parts.state.instances.get(project, name))


async def save(parts: Parts, project: str, name: str) -> None:
    """Stop the guest with its memory and processes kept; on failure it goes on."""
    async with parts.locks.hold(instance_lock(project, name)):
        record = parts.state.instances.get(project, name)
        running = parts.runtime.running(project, name)
        if running is None:
            raise Conflict("The instance is already stopped")
        await state.check(parts, record, running)
        await parts.doors.close(project, name)  # A connection of the guest's to the outside cannot be saved.
        try:
            await state.save(parts, record)
        except BaseException:
            if parts.runtime.running(project, name) is not None:
                await guest_folder(parts, record, expand.of(parts.state, record)[0])
            raise
        await cleared(parts, project, name)
        await state.remember(parts, record, stateful=True)
        parts.events.lifecycle("instance-stopped", render.url(project, name), project)


async def _end(parts: Parts, record: InstanceRecord, *, force: bool, timeout: float | None) -> None:
    project, name = record.project, record.name
    if force:
        hasty = [device for device in parts.live.get((project, name), []) if device.goes_first]
        await asyncio.gather(parts.runtime.kill(project, name), _release(name, hasty))
        parts.live[project, name] = [each for each in parts.live.get((project, name), []) if each not in hasty]
    else:
        if (running := parts.runtime.running(project, name)) is not None and running.frozen:
            await parts.runtime.unfreeze(project, name)
        await parts.runtime.shutdown(project, name)
        if not await parts.runtime.wait(project, name, timeout):
            raise HutchError(f'Failed shutting down instance, status is "Running": no end after {timeout:.0f} seconds')
    await cleared(parts, project, name)


async def restart(parts: Parts, project: str, name: str, *, force: bool = False, timeout: float | None = None) -> None:
    async with parts.locks.hold(instance_lock(project, name)):
        record = parts.state.instances.get(project, name)
        if parts.runtime.running(project, name) is None:
            raise Conflict("The instance is not running")
        await _end(parts, record, force=force, timeout=timeout)
        await boot(parts, parts.state.instances.get(project, name))
        parts.events.lifecycle("instance-restarted", render.url(project, name), project)


async def freeze(parts: Parts, project: str, name: str, *, frozen: bool) -> None:
    async with parts.locks.hold(instance_lock(project, name)):
        parts.state.instances.get(project, name)
        running = parts.runtime.running(project, name)
        if running is None:
            raise Conflict("The instance is not running")
        if running.frozen == frozen:
            raise Conflict(f"The instance is already {'frozen' if frozen else 'running'}")
        await (parts.runtime.freeze if frozen else parts.runtime.unfreeze)(project, name)
        action = "instance-paused" if frozen else "instance-resumed"
        parts.events.lifecycle(action, render.url(project, name), project)


async def cleared(parts: Parts, project: str, name: str, power: str = "STOPPED") -> None:
    """The guest has gone: give back what its devices hold, unmount its root, remember that it is stopped."""
    # At once: the last unmount of an overlay waits for its files to be on the disk, the end of a link for the network stack.
    await asyncio.gather(
        _release(name, parts.live.pop((project, name), [])),
        asyncio.to_thread(mount.detach, parts.instance_directory(project, name) / "rootfs"),
        parts.consoles.close(project, name),
        cpus.leave(parts, (project, name)),
        parts.doors.close(project, name),
    )
    await _remember_power(parts, project, name, power)


async def _release(name: str, devices: list[Device]) -> None:
    for device in reversed(devices):
        try:
            await device.release()
        except HutchError as error:
            log.warning("instance %s: device %s was not released: %s", name, device.name, error)


async def _remember_power(parts: Parts, project: str, name: str, power: str) -> None:
    record = parts.state.instances.find(project, name)
    if record is None:
        return
    config = {key: value for key, value in record.config.items() if key != "volatile.last_state.ready"}
    if power == "RUNNING":
        config.pop("volatile.apply_template", None)
    config["volatile.last_state.power"] = power
    if config != record.config:
        await parts.state.put(replace(record, config=config))


async def ended(parts: Parts, project: str, name: str, target: str) -> None:
    """The runtime saw a guest end. A verb that holds the lock may have asked for it and cleared up already."""
    async with parts.locks.hold(instance_lock(project, name)):
        record = parts.state.instances.find(project, name)
        if record is None or (project, name) not in parts.live or parts.runtime.running(project, name) is not None:
            return
        await cleared(parts, project, name)
        await state.reconcile(parts, parts.state.instances.get(project, name))
        if target == "reboot":
            parts.events.lifecycle("instance-restarted", render.url(project, name), project)
            await boot(parts, parts.state.instances.get(project, name))
            return
        parts.events.lifecycle("instance-shutdown", render.url(project, name), project)
        if record.ephemeral:
            await delete.now_held(parts, parts.state.instances.get(project, name))


def live_devices(parts: Parts, record: InstanceRecord) -> list[Device]:
    """The devices of a guest that was running before the daemon came up, as their volatile values describe them."""
    config, devices = expand.of(parts.state, record)
    context = surroundings.context(parts, record.project, record.name, config)
    known, failures = load.every(devices, context)
    for failure in failures:
        log.warning("instance %s cannot be managed in full: %s", record.name, failure)
    return known
