"""What a start makes around the runtime, and takes back when it fails: root, console, devices, and the plan of it all."""

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass

from msgspec.structs import replace

from hutch.device import load
from hutch.device.base import Device
from hutch.image import templates
from hutch.kernel import modules, mount
from hutch.kernel.idmap import IdMap
from hutch.runtime.plan import LaunchPlan, Mount, Syscalls
from hutch.schema.base import Config, now
from hutch.schema.instance import InstanceRecord
from hutch.schema.keys import instance as keys
from hutch.schema.keys import walls
from hutch.service import guest
from hutch.service.instances import cpus, expand, isolate, limits, surroundings, throttle, volume
from hutch.service.instances import stateful as state
from hutch.service.parts import Parts


@dataclass(frozen=True)
class Launch:
    """A start that is under way: the plan, the devices that are made for it, and the CPUs it is pinned to, as a limit."""

    plan: LaunchPlan
    devices: list[Device]
    pinned: dict[str, str]


def noted(parts: Parts, record: InstanceRecord) -> InstanceRecord:
    """The record with what this start will make on the host, to be written down, with isolate.LOCK held, before it is made."""
    config, devices = expand.of(parts.state, record)
    context = surroundings.context(parts, record.project, record.name, config, devices)
    fresh: Config = {}
    for name, settings in devices.items():
        device = load.device(name, settings, context)
        device.check()
        fresh |= {f"volatile.{name}.{key}": value for key, value in device.volatile().items()}
    fresh["volatile.last_state.power"] = "RUNNING"
    fresh |= isolate.allocate(parts, record, config)
    return replace(record, config=record.config | fresh, last_used_at=now())


async def arrange(parts: Parts, record: InstanceRecord, undo: AsyncExitStack, *, held: bool = False) -> Launch:
    """Everything but the root: `undo` takes it back. With `held` nothing reaches the guest's links before it is let in."""
    project, name = record.project, record.name
    config, devices = expand.of(parts.state, record)
    idmap = volume.idmap_of(config)
    directory = parts.instance_directory(project, name)
    await modules.load(keys.kernel_modules(config.get("linux.kernel_modules", "")))
    undo.push_async_callback(cpus.leave, parts, (project, name))
    pinned = cpus.want(parts, (project, name), config.get("limits.cpu", ""))
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
        limits=limits.of(config) | await throttle.of(parts, devices) | pinned,
        rlimits=_prefixed(config, "limits.kernel."),
        sysctls=_prefixed(config, "linux.sysctl."),
        syscalls=_syscalls(config),
        raw=config.get("raw.lxc", ""),
        mounts=mounts,
        images=state.images(parts, record) if record.stateful else None,
        held=held,
    )
    return Launch(plan, await _plan_devices(parts, record, config, devices, plan, undo), pinned)


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


async def _plan_devices(
    parts: Parts,
    record: InstanceRecord,
    config: Config,
    devices: dict[str, Config],
    plan: LaunchPlan,
    undo: AsyncExitStack,
) -> list[Device]:
    context = surroundings.context(parts, record.project, record.name, config, devices)
    made = []
    for name in sorted(devices):
        device = load.device(name, devices[name], context)
        undo.push_async_callback(device.release)
        await device.plan(plan)
        made.append(device)
    return made


async def mount_root(parts: Parts, record: InstanceRecord, undo: AsyncExitStack) -> None:
    """The root filesystem at DIR/instances/PROJECT/NAME/rootfs, its templates applied unless it goes on from a state."""
    config, devices = expand.of(parts.state, record)
    idmap = volume.idmap_of(config)
    rootfs = parts.instance_directory(record.project, record.name) / "rootfs"
    undo.push_async_callback(asyncio.to_thread, mount.detach, rootfs)
    fd = await volume.pool(parts, devices).mount(volume.of(record), idmap)
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


async def pin(parts: Parts, begun: Launch) -> None:
    """The guest runs: the others make room for it on their CPUs."""
    if begun.pinned:
        parts.pinned[begun.plan.project, begun.plan.name] = begun.pinned["cpuset.cpus"]
        await cpus.settle(parts)
