"""One state change for every instance of a project."""

import asyncio

import msgspec

from hutch.errors import HutchError
from hutch.schema.instance import StatePut
from hutch.service.instances import power, render
from hutch.service.parts import Parts
from hutch.work.operations import Operation


class BulkPut(msgspec.Struct, kw_only=True):
    state: StatePut = msgspec.field(default_factory=StatePut)


def change(parts: Parts, project: str, wanted: StatePut) -> Operation:
    """Instances that are in the wanted state already are left alone; failures are gathered into one sentence."""
    names = [
        record.name for record in parts.state.instances.all(project) if _concerned(parts, project, record.name, wanted)
    ]

    async def one(name: str) -> str:
        try:
            await power.act(parts, project, name, wanted)
        except HutchError as error:
            return f"{name}: {error}"
        return ""

    async def work(operation: Operation) -> None:
        failures = [failure for failure in await asyncio.gather(*map(one, names)) if failure]
        if failures:
            raise HutchError("; ".join(failures))

    return parts.operations.start(
        "Updating instances", work, project=project, resources=render.resources(project, *names)
    )


def _concerned(parts: Parts, project: str, name: str, wanted: StatePut) -> bool:
    running = parts.runtime.running(project, name)
    match wanted.action:
        case "start":
            return running is None
        case "freeze":
            return running is not None and not running.frozen
        case "unfreeze":
            return running is not None and running.frozen
    return running is not None
