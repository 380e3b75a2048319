"""Backups that are kept on the server: made, listed, renamed, deleted; each is one file in DIR/backups and a record."""

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from msgspec.structs import replace

from hutch.errors import AlreadyExists, Invalid
from hutch.schema.backup import BackupPost, BackupRecord
from hutch.schema.base import ZERO_TIME, now, timestamp
from hutch.service import allow
from hutch.service.backups import pack
from hutch.service.instances import rules
from hutch.service.parts import Parts
from hutch.work.operations import Operation

_PROGRESS = "create_backup_progress"


@dataclass(frozen=True)
class Owner:
    """What backups are of: an instance (`kind` container), or a custom volume of a pool (custom)."""

    kind: str
    project: str
    name: str
    pool: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.kind, self.pool or "-", self.project, self.name)

    @property
    def path(self) -> str:
        words = ["instances", self.name]
        if self.kind == "custom":
            words = ["storage-pools", self.pool, "volumes", "custom", self.name]
        return "/".join(["/1.0", *(quote(word, safe="") for word in words)])

    def url(self, backup: str = "") -> str:
        path = f"{self.path}/backups/{quote(backup, safe='')}" if backup else self.path
        return path if self.project == "default" else f"{path}?project={quote(self.project, safe='')}"

    def expect(self, parts: Parts) -> None:
        """NotFound when it does not exist."""
        if self.kind == "custom":
            parts.state.volumes.get(self.pool, self.project, self.name)
        else:
            parts.state.instances.get(self.project, self.name)

    def packed(self, parts: Parts, wanted: BackupPost) -> AbstractAsyncContextManager[pack.Chunks]:
        if self.kind == "custom":
            return pack.custom(parts, self.pool, self.project, self.name, wanted)
        return pack.instance(parts, self.project, self.name, wanted)


def document(record: BackupRecord) -> dict[str, Any]:
    shown = {
        "name": record.name,
        "created_at": timestamp(record.created_at),
        "expires_at": timestamp(record.expires_at),
        "optimized_storage": False,
    }
    if record.kind == "custom":
        return shown | {"volume_only": record.only}
    return shown | {"instance_only": record.only, "container_only": record.only}


def of(parts: Parts, owner: Owner) -> list[BackupRecord]:
    owner.expect(parts)
    return parts.state.backups.all(*owner.key)


def get(parts: Parts, owner: Owner, name: str) -> BackupRecord:
    owner.expect(parts)
    return parts.state.backups.get(*owner.key, name)


def file(parts: Parts, record: BackupRecord) -> Path:
    return parts.backups / record.file


def check(parts: Parts, owner: Owner, wanted: BackupPost) -> None:
    """Refuse at once what needs no look at the volume."""
    owner.expect(parts)
    allow.backup(parts, owner.project)
    pack.algorithm(parts, owner.project, wanted.compression_algorithm)


def create(parts: Parts, owner: Owner, wanted: BackupPost) -> Operation:
    """`backupN` is the name when none is given."""
    check(parts, owner, wanted)
    name = wanted.name or _next_name(parts, owner)
    _check_name(name)
    _check_free(parts, owner, name)

    async def work(operation: Operation) -> None:
        record = BackupRecord(
            kind=owner.kind,
            pool=owner.pool,
            project=owner.project,
            owner=owner.name,
            name=name,
            file=uuid4().hex,
            created_at=now(),
            expires_at=wanted.expires_at or ZERO_TIME,
            only=wanted.only,
        )
        target = file(parts, record)
        try:
            async with owner.packed(parts, wanted) as chunks:
                await _write(chunks, target, _teller(operation))
            _check_free(parts, owner, name)
            owner.expect(parts)
            await parts.state.put(record)
        except BaseException:
            await asyncio.to_thread(target.unlink, missing_ok=True)
            raise
        _tell(parts, owner, "created", name)

    kind = "Backing up instance" if owner.kind == "container" else "Backing up storage volume"
    return parts.operations.start(kind, work, project=owner.project, resources=resources(owner, name), may_cancel=True)


def resources(owner: Owner, name: str) -> dict[str, list[str]]:
    kinds = ["storage_volumes"] if owner.kind == "custom" else ["instances", "containers"]
    # No URL that there is: LXD 5's lxc takes the name from it by cutting off /1.0/backups/.
    return {kind: [owner.url()] for kind in kinds} | {"backups": [f"/1.0/backups/{quote(name, safe='')}"]}


def _next_name(parts: Parts, owner: Owner) -> str:
    taken = {each.name for each in parts.state.backups.all(*owner.key)}
    return next(name for number in range(len(taken) + 1) if (name := f"backup{number}") not in taken)


def _check_name(name: str) -> None:
    if "/" in name:
        raise Invalid("Backup names may not contain slashes")
    rules.check_snapshot_name(name)


def _check_free(parts: Parts, owner: Owner, name: str) -> None:
    if parts.state.backups.find(*owner.key, name) is not None:
        raise AlreadyExists(f"Backup {name!r} already exists")


def _teller(operation: Operation) -> Callable[[int], None]:
    began = time.monotonic()

    def tell(size: int) -> None:
        speed = int(size / max(time.monotonic() - began, 0.001))
        operation.progress(_PROGRESS, "Backup", 0, speed, f"{size / 1e6:.2f}MB ({speed / 1e6:.2f}MB/s)")

    return tell


async def _write(chunks: pack.Chunks, target: Path, tell: Callable[[int], None]) -> None:
    size = 0
    with await asyncio.to_thread(target.open, "wb") as out:
        async for chunk in chunks:
            await asyncio.to_thread(out.write, chunk)
            size += len(chunk)
            tell(size)
        await asyncio.to_thread(out.flush)
        await asyncio.to_thread(os.fsync, out.fileno())


def _tell(parts: Parts, owner: Owner, what: str, name: str, **context: str) -> None:
    kind = "instance" if owner.kind == "container" else "storage-volume"
    parts.events.lifecycle(f"{kind}-backup-{what}", owner.url(name), owner.project, context or None)


def rename(parts: Parts, owner: Owner, name: str, new: str) -> Operation:
    get(parts, owner, name)
    _check_name(new)

    async def work(operation: Operation) -> None:
        record = get(parts, owner, name)
        _check_free(parts, owner, new)
        async with parts.state.change() as transaction:
            transaction.delete(record)
            transaction.put(replace(record, name=new))
        _tell(parts, owner, "renamed", new, old_name=name)

    return parts.operations.start("Renaming backup", work, project=owner.project, resources=resources(owner, new))


def delete(parts: Parts, owner: Owner, name: str) -> Operation:
    get(parts, owner, name)

    async def work(operation: Operation) -> None:
        await remove(parts, get(parts, owner, name))

    return parts.operations.start("Removing backup", work, project=owner.project, resources=resources(owner, name))


async def remove(parts: Parts, record: BackupRecord) -> None:
    await parts.state.delete(record)
    await asyncio.to_thread(file(parts, record).unlink, missing_ok=True)
    _tell(parts, Owner(record.kind, record.project, record.owner, record.pool), "deleted", record.name)


async def reconcile(parts: Parts) -> None:
    """Remove the files that no record names: of a backup that was being made, sent or taken in when the daemon died."""
    known = {each.file for each in parts.state.backups.all()}
    await asyncio.to_thread(_sweep, parts.backups, known)


def _sweep(folder: Path, known: set[str]) -> None:

    folder.mkdir(mode=0o700, exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in known:
            path.unlink(missing_ok=True)
