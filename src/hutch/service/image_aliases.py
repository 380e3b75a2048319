"""Names for images."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from hutch.schema.image import AliasPost, AliasRecord
from hutch.service import image_import, images
from hutch.service.parts import Parts


def url(project: str, name: str) -> str:
    path = f"/1.0/images/aliases/{quote(name, safe='')}"
    return path if project == "default" else f"{path}?project={quote(project, safe='')}"


def document(record: AliasRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "description": record.description,
        "target": record.target,
        "type": record.type,
    }


def editable(record: AliasRecord) -> dict[str, Any]:
    return {"description": record.description, "target": record.target}


def every(parts: Parts, project: str) -> list[AliasRecord]:
    return parts.state.aliases.all(images.home(parts, project))


def get(parts: Parts, project: str, name: str) -> AliasRecord:
    return parts.state.aliases.get(images.home(parts, project), name)


async def create(parts: Parts, project: str, wanted: AliasPost) -> AliasRecord:
    place = images.home(parts, project)
    async with parts.locks.hold(_lock(place)):
        image_import.check_alias(parts, place, wanted.name)
        target = images.find(parts, project, wanted.target or "")
        made = AliasRecord(
            name=wanted.name,
            target=target.fingerprint,
            project=place,
            description=wanted.description or "",
            type=target.type,
        )
        await parts.state.put(made)
    _tell(parts, "created", made)
    return made


async def put(
    parts: Parts, project: str, name: str, wanted: AliasPost, check: Callable[[AliasRecord], None], *, merge: bool
) -> None:
    """Point the alias elsewhere or describe it anew."""
    async with parts.locks.hold(_lock(images.home(parts, project))):
        record = get(parts, project, name)
        check(record)
        target = record.target if wanted.target is None else images.find(parts, project, wanted.target).fingerprint
        kept = record.description if merge else ""
        description = kept if wanted.description is None else wanted.description
        await parts.state.put(replace(record, target=target, description=description))
    _tell(parts, "updated", record)


async def rename(parts: Parts, project: str, name: str, wanted: str) -> AliasRecord:
    place = images.home(parts, project)
    async with parts.locks.hold(_lock(place)):
        record = get(parts, project, name)
        image_import.check_alias(parts, place, wanted)
        renamed = replace(record, name=wanted)
        async with parts.state.change() as transaction:
            transaction.delete(record)
            transaction.put(renamed)
    parts.events.lifecycle("image-alias-renamed", url(place, wanted), place, {"old_name": name})
    return renamed


async def delete(parts: Parts, project: str, name: str) -> None:
    async with parts.locks.hold(_lock(images.home(parts, project))):
        record = get(parts, project, name)
        await parts.state.delete(record)
    _tell(parts, "deleted", record)


def _lock(place: str) -> str:
    return f"aliases/{place}"


def _tell(parts: Parts, what: str, record: AliasRecord) -> None:
    context = {"target": record.target} if what != "deleted" else {}
    parts.events.lifecycle(f"image-alias-{what}", url(record.project, record.name), record.project, context)
