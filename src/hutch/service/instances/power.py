"""Start, stop, restart and freeze; and what happens when a guest ends by itself."""

import asyncio
import logging
from contextlib import AsyncExitStack

from msgspec.structs import replace

from hutch.device import load
from hutch.device.base import Device
from hutch.errors import Conflict, Forbidden, HutchError, Invalid
from hutch.kernel import mount
from hutch.runtime.base import Running
from hutch.schema.instance import InstanceRecord, StatePut
from hutch.schema.keys import instance as keys
from hutch.service.instances import cpus, delete, expand, isolate, launch, render, rules, surroundings
from hutch.service.instances import stateful as state
from hutch.service.parts import Parts, instance_lock
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
        rules.check_here(parts, project, name)
        if record.stateful and not stateful:
            record = await state.remember(parts, record, stateful=False)
        await boot(parts, record)
        parts.events.lifecycle("instance-started", render.url(project, name), project)


async def boot(parts: Parts, record: InstanceRecord) -> None:
    """Bring up an instance whose lock is held, from its state if it has one; on failure the host is as before."""
    project, name = record.project, record.name
    rules.check_here(parts, project, name)
    if keys.flag(expand.of(parts.state, record)[0], "security.protection.start"):
        raise Forbidden("Instance is protected from being started: unset security.protection.start to start it")
    async with parts.locks.hold(isolate.LOCK):
        record = launch.noted(parts, record)
        await parts.state.put(record)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(_remember_power, parts, project, name, "STOPPED")
        begun = await launch.arrange(parts, record, undo, held=record.stateful)
        await launch.mount_root(parts, record, undo)
        running = await (state.restore(parts, begun.plan) if record.stateful else parts.runtime.start(begun.plan))
        undo.push_async_callback(parts.runtime.kill, project, name)
        for device in begun.devices:
            await device.started(running)
            if record.stateful:
                await device.admit({})
        parts.live[project, name] = begun.devices
        undo.pop_all()
    await launch.pin(parts, begun)
    if record.stateful:
        await state.remember(parts, record, stateful=False)
    await _remember_power(parts, project, name, "RUNNING")


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
        await save_held(parts, record, running)
        parts.events.lifecycle("instance-stopped", render.url(project, name), project)


async def save_held(parts: Parts, record: InstanceRecord, running: Running, power: str = "STOPPED") -> None:
    """`save` for an instance whose lock is held; `power` is remembered as its last state."""
    project, name = record.project, record.name
    await state.check(parts, record, running)
    await parts.doors.close(project, name)  # A connection of the guest's to the outside cannot be saved.
    try:
        await state.save(parts, record)
    except BaseException:
        if parts.runtime.running(project, name) is not None:
            await launch.guest_folder(parts, record, expand.of(parts.state, record)[0])
        raise
    await cleared(parts, project, name, power=power)
    await state.remember(parts, record, stateful=True)


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
    context = surroundings.context(parts, record.project, record.name, config, devices)
    known, failures = load.every(devices, context)
    for failure in failures:
        log.warning("instance %s cannot be managed in full: %s", record.name, failure)
    return known


async def found(parts: Parts, record: InstanceRecord, running: Running) -> None:
    """A guest was running before the daemon came up: its devices have again what a crash of the host's programs took."""
    for device in parts.live[record.project, record.name]:
        try:
            await device.started(running)
        except HutchError as error:
            log.warning("instance %s: device %s does not work: %s", record.name, device.name, error)
