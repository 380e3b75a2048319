"""Say whether a running guest can be saved, or moved to a host, before anything happens; and try it with the guest going on."""

import asyncio
import os
from collections.abc import Iterator
from typing import Any

from hutch.errors import HutchError, Unsupported
from hutch.runtime.base import Obstacle
from hutch.schema.instance import InstanceRecord
from hutch.schema.rehearsal import CheckpointCheck, CheckpointHost
from hutch.service.instances import memory, render, stateful
from hutch.service.migration import live_host
from hutch.service.parts import Parts, instance_lock
from hutch.work.operations import Operation

_CRIU = (4, 2)
"""The release from which on CRIU saves what ordinary guests have (the options of their sockets, on kernels of today)."""


async def host(parts: Parts) -> CheckpointHost:
    """What this host has; `criu` is empty where there is none."""
    try:
        found = await live_host.of_this(parts)
    except Unsupported:
        return CheckpointHost(kernel=os.uname().release, lxcfs=parts.runtime.offers_lxcfs)
    return CheckpointHost(found.kernel, found.criu, found.cpu, parts.runtime.offers_lxcfs)


def check(parts: Parts, project: str, name: str, wanted: CheckpointCheck) -> Operation:
    """An operation whose metadata tells: possible, obstacles, host, changes, trial."""
    parts.state.instances.get(project, name)

    async def work(operation: Operation) -> None:
        async with parts.locks.hold(instance_lock(project, name)):
            operation.update(**await _answer(parts, parts.state.instances.get(project, name), wanted))

    resources = render.resources(project, name)
    return parts.operations.start("Checking instance for a move", work, project=project, resources=resources)


async def _answer(parts: Parts, record: InstanceRecord, wanted: CheckpointCheck) -> dict[str, Any]:
    here = await host(parts)
    obstacles = await _obstacles(parts, record, here, wanted.target)
    trial = None
    if wanted.trial and not obstacles:
        try:
            pause, size = await memory.rehearse(parts, record)
            trial = {"pause": round(pause, 4), "bytes": size}
        except HutchError as error:
            obstacles.append(Obstacle(str(error)))
    return {
        "possible": not obstacles,
        "obstacles": [{"reason": each.reason, "process": each.process, "pid": each.pid} for each in obstacles],
        "host": {"kernel": here.kernel, "criu": here.criu, "cpu": here.cpu, "lxcfs": here.lxcfs},
        "changes": await stateful.placed(parts, record),
        "trial": trial,
    }


async def _obstacles(
    parts: Parts, record: InstanceRecord, here: CheckpointHost, there: CheckpointHost | None
) -> list[Obstacle]:
    running = parts.runtime.running(record.project, record.name)
    objections = stateful.objections(parts, record, running, "A move of the running instance")
    reasons = [*map(str, objections), *_lacks(here, "this host"), *(differences(here, there) if there else ())]
    found = [Obstacle(reason) for reason in reasons]
    if running is not None and here.criu:
        found += await asyncio.to_thread(parts.runtime.obstacles, record.project, record.name)
    return found


def _lacks(host: CheckpointHost, which: str) -> Iterator[str]:
    if not host.criu:
        yield f"{which} has no CRIU"
    elif _number(host.criu) < _CRIU:
        yield f"{which} has CRIU {host.criu}, and {'.'.join(map(str, _CRIU))} is needed"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(word) if word.isdigit() else 0 for word in version.split(".")[:2])


def differences(here: CheckpointHost, there: CheckpointHost) -> Iterator[str]:
    """What keeps a guest of `here` from going on `there`."""
    yield from _lacks(there, "the target")
    if there.kernel != here.kernel:
        yield f"the target's kernel is {there.kernel}, here it is {here.kernel}"
    if there.criu and here.criu and there.criu != here.criu:
        yield f"the target's CRIU is {there.criu}, here it is {here.criu}"
    if missing := sorted(set(here.cpu) - set(there.cpu)):
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        yield f"the target's CPUs lack {', '.join(missing[:8])}{more}, which programs may use that run already"
    if here.lxcfs and not there.lxcfs:
        yield "lxcfs is not mounted on the target, and the guest has its files"
