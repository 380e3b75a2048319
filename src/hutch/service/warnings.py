"""Warnings: conditions that somebody should know of and that pass when their cause has gone."""

from datetime import timedelta
from enum import Enum
from typing import Any
from uuid import uuid4

from msgspec.structs import replace

from hutch.errors import Invalid
from hutch.schema.base import now, timestamp
from hutch.schema.warning import WarningPut, WarningRecord
from hutch.service.parts import Parts

_KEPT = timedelta(days=1)
_EVENTS = {"acknowledged": "warning-acknowledged", "new": "warning-reset"}


class Kind(Enum):
    """What can be wrong: LXD's words for it, and how bad it is."""

    POOL = "Storage pool unavailable", "high"
    NETWORK = "Network unavailable", "high"
    AUTOSTART = "Instance autostart failure", "low"
    LXCFS = "LXCFS is not available", "moderate"


def url(record: WarningRecord) -> str:
    return f"/1.0/warnings/{record.uuid}"


def document(record: WarningRecord) -> dict[str, Any]:
    return {
        "uuid": record.uuid,
        "location": "none",
        "project": record.project,
        "type": record.type,
        "count": record.count,
        "first_seen_at": timestamp(record.first_seen_at),
        "last_seen_at": timestamp(record.last_seen_at),
        "last_message": record.last_message,
        "severity": record.severity,
        "status": record.status,
        "entity_url": record.entity_url,
    }


def editable(record: WarningRecord) -> dict[str, str]:
    """What the ETag stands for."""
    return {"status": record.status}


def of_project(parts: Parts, project: str) -> list[WarningRecord]:
    """Those of a project (empty: of all), the latest last."""
    found = [each for each in parts.state.warnings.all() if project in ("", each.project)]
    return sorted(found, key=lambda each: each.last_seen_at)


async def met(parts: Parts, kind: Kind, message: str, *, about: str = "", project: str = "") -> None:
    """The condition is there: a new warning, or one more time of a known one. `about` is the URL of the thing."""
    known, moment = _find(parts, kind, about), now()
    if known is None:
        type, severity = kind.value
        known = WarningRecord(
            uuid=str(uuid4()),
            type=type,
            severity=severity,
            project=project,
            entity_url=about,
            count=0,
            first_seen_at=moment,
        )
    status = "new" if known.status == "resolved" else known.status
    changed = replace(known, count=known.count + 1, last_seen_at=moment, last_message=message, status=status)
    await parts.state.put(changed)


async def passed(parts: Parts, kind: Kind, *, about: str = "") -> None:
    """The condition is not there, or no longer."""
    known = _find(parts, kind, about)
    if known is not None and known.status != "resolved":
        await parts.state.put(replace(known, status="resolved", last_seen_at=now()))


async def told(parts: Parts, kind: Kind, about: str, project: str, message: str) -> None:
    """`met` with a message, `passed` with none."""
    if message:
        await met(parts, kind, message, about=about, project=project)
    else:
        await passed(parts, kind, about=about)


async def tidy(parts: Parts) -> None:
    """Forget what was resolved a day ago."""
    for record in parts.state.warnings.all():
        if record.status == "resolved" and record.last_seen_at < now() - _KEPT:
            await parts.state.delete(record)


def _find(parts: Parts, kind: Kind, about: str) -> WarningRecord | None:
    found = (each for each in parts.state.warnings.all() if (each.type, each.entity_url) == (kind.value[0], about))
    return next(found, None)


async def put(parts: Parts, record: WarningRecord, wanted: WarningPut) -> None:
    """Acknowledge a warning, or make it new again."""
    if wanted.status not in _EVENTS:
        raise Invalid('Status may only be set to "acknowledged" or "new"')
    await parts.state.put(replace(record, status=wanted.status))
    parts.events.lifecycle(_EVENTS[wanted.status], url(record), record.project)


async def delete(parts: Parts, record: WarningRecord) -> None:
    await parts.state.delete(record)
    parts.events.lifecycle("warning-deleted", url(record), record.project)


async def forget(parts: Parts, about: str) -> None:
    """The thing is deleted, and what was said of it with it."""
    for record in parts.state.warnings.all():
        if record.entity_url == about:
            await parts.state.delete(record)
