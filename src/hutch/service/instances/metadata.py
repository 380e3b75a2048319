"""What an instance keeps of its image: metadata.yaml, and the templates of files in the guest. Both can be edited."""

import asyncio
import re
from pathlib import Path
from typing import Any

import msgspec

from hutch.errors import Invalid, NotFound
from hutch.image import metadata as documents
from hutch.image.metadata import Metadata
from hutch.image.templates import load
from hutch.kernel import tree
from hutch.schema.base import convert
from hutch.service.instances import render
from hutch.service.parts import Parts, instance_lock


class MetadataPut(msgspec.Struct, kw_only=True):
    architecture: str = ""
    creation_date: int = 0
    expiry_date: int = 0
    properties: dict[str, Any] = {}
    templates: dict[str, Any] = {}


def _directory(parts: Parts, project: str, name: str) -> Path:
    record = parts.state.instances.get(project, name)
    return parts.instance_directory(record.project, record.name)


async def get(parts: Parts, project: str, name: str) -> dict[str, Any]:
    """The document as LXD has it; one without properties for an instance that came from no image."""
    found = await asyncio.to_thread(load, _directory(parts, project, name))
    if found is None:
        found = Metadata(architecture=parts.state.instances.get(project, name).architecture)
    document: dict[str, Any] = msgspec.to_builtins(found)
    return document


async def put(parts: Parts, project: str, name: str, wanted: MetadataPut) -> None:
    document = msgspec.to_builtins(wanted)
    document["properties"] = {key: str(value) for key, value in wanted.properties.items()}
    changed = convert(document, Metadata)
    changed.architecture = documents.architecture(changed.architecture)
    documents.check(changed)
    async with parts.locks.hold(instance_lock(project, name)):
        directory = _directory(parts, project, name)
        await asyncio.to_thread(tree.write, directory / "metadata.yaml", documents.render(changed))
    parts.events.lifecycle("instance-metadata-updated", render.url(project, name), project)


def _template(directory: Path, name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise Invalid(f"Invalid template filename {name!r}: letters, digits, dots, hyphens and underscores are allowed")
    return directory / "templates" / name


async def template_names(parts: Parts, project: str, name: str) -> list[str]:
    folder = _directory(parts, project, name) / "templates"
    return await asyncio.to_thread(lambda: sorted(path.name for path in folder.glob("*") if path.is_file()))


async def read_template(parts: Parts, project: str, name: str, template: str) -> bytes:
    path = _template(_directory(parts, project, name), template)
    try:
        return await asyncio.to_thread(path.read_bytes)
    except FileNotFoundError as error:
        raise NotFound(f"Template {template!r} not found") from error


async def write_template(parts: Parts, project: str, name: str, template: str, content: bytes) -> None:
    async with parts.locks.hold(instance_lock(project, name)):
        path = _template(_directory(parts, project, name), template)
        await asyncio.to_thread(_write, path, content)
    parts.events.lifecycle("instance-metadata-template-created", render.url(project, name), project)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(content)
    draft.replace(path)


async def delete_template(parts: Parts, project: str, name: str, template: str) -> None:
    async with parts.locks.hold(instance_lock(project, name)):
        path = _template(_directory(parts, project, name), template)
        try:
            await asyncio.to_thread(path.unlink)
        except FileNotFoundError as error:
            raise NotFound(f"Template {template!r} not found") from error
    parts.events.lifecycle("instance-metadata-template-deleted", render.url(project, name), project)
