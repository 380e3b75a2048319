"""What every way of making an instance ends with: its folder, its own volatile values, its record."""

import asyncio
import shutil
from pathlib import Path
from uuid import uuid4

import msgspec

from hutch.schema.base import Config
from hutch.schema.doomed import DoomedRecord
from hutch.schema.instance import InstanceRecord
from hutch.service import allow
from hutch.service.instances import expand
from hutch.service.parts import Parts


async def directory(parts: Parts, record: InstanceRecord) -> Path:
    """The instance's own folder, made empty. Only root may look into it."""
    path = parts.instance_directory(record.project, record.name)
    await asyncio.to_thread(_make, path)
    return path


def _make(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True, mode=0o711)
    (path / "logs").mkdir(exist_ok=True, mode=0o700)
    (path / "rootfs").mkdir(exist_ok=True, mode=0o755)


async def inherit(parts: Parts, origin: InstanceRecord, record: InstanceRecord) -> None:
    """The image metadata and templates of the instance that this one is a copy of."""
    source, target = parts.instance_directory(origin.project, origin.name), await directory(parts, record)
    await asyncio.to_thread(_inherit, source, target)


def _inherit(source: Path, target: Path) -> None:
    if (metadata := source / "metadata.yaml").exists():
        shutil.copyfile(metadata, target / "metadata.yaml")
    if (templates := source / "templates").is_dir():
        shutil.copytree(templates, target / "templates", dirs_exist_ok=True)


async def commit(parts: Parts, record: InstanceRecord, doomed: DoomedRecord, *others: msgspec.Struct) -> None:
    """The volume is whole: from this one step on the instance exists, if its project still allows it."""
    async with allow.settled(parts, record.project):
        allow.instance(parts, record.project, record.name, *expand.of(parts.state, record))
        async with parts.state.change() as transaction:
            transaction.put(record, *others)
            transaction.delete(doomed)


def fresh_volatile() -> Config:
    """What every new instance gets of its own."""
    return {
        "volatile.uuid": str(uuid4()),
        "volatile.cloud-init.instance-id": str(uuid4()),
        "volatile.last_state.power": "STOPPED",
        "volatile.apply_template": "create",
    }
