"""Projects: create, change, rename, delete, and what they hold."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from hutch.access.projects import DEFAULT, Kind, has_own
from hutch.errors import AlreadyExists, Forbidden, Invalid
from hutch.schema.base import Config, Devices, strings
from hutch.schema.certificate import CertificateRecord, TokenRecord
from hutch.schema.keys import project as keys
from hutch.schema.keys.base import as_bool
from hutch.schema.profile import ProfileRecord
from hutch.schema.project import ProjectPut, ProjectRecord
from hutch.service import acls, allow, images, networks, profiles
from hutch.service.instances import render
from hutch.service.parts import Parts
from hutch.service.volumes import render as volumes
from hutch.work.operations import Operation


def url(name: str) -> str:
    return f"/1.0/projects/{quote(name, safe='')}"


def used_by(parts: Parts, name: str) -> list[str]:
    """The URLs of everything that is in the project."""
    state = parts.state
    return [
        *(render.url(name, each.name) for each in state.instances.all(name)),
        *(profiles.url(name, each.name) for each in state.profiles.all(name)),
        *(images.url(name, each.fingerprint) for each in state.images.all(name)),
        *(networks.url(name, each.name) for each in state.networks.all(name)),
        *(acls.url(name, each.name) for each in state.acls.all(name)),
        *(volumes.url(each.pool, name, "custom", each.name) for each in allow.volumes(parts, name)),
    ]


def document(parts: Parts, record: ProjectRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "description": record.description,
        "config": record.config,
        "used_by": used_by(parts, record.name),
    }


def editable(record: ProjectRecord) -> dict[str, Any]:
    return {"description": record.description, "config": record.config}


def is_empty(parts: Parts, name: str) -> bool:
    """Whether nothing is in the project but its default profile."""
    return set(used_by(parts, name)) <= {profiles.url(name, "default")}


def check_name(name: str) -> None:
    """LXD's rules and words: the name is part of file names on the host, behind which an underscore comes."""
    if not name:
        raise Invalid("No name provided")
    for letter, what in (("/", "slashes"), ("_", "underscores"), (" ", "spaces"), ("'", "quotes"), ('"', "quotes")):
        if letter in name:
            raise Invalid(f"Project names may not contain {what}")
    if name == "*":
        raise Invalid("Reserved project name")
    if name in (".", "..") or not name.isprintable() or len(name.encode()) > 63:
        raise Invalid(f"Invalid project name {name!r}")


async def create(parts: Parts, wanted: ProjectPut, devices: Devices | None = None) -> ProjectRecord:
    """Make a project, with a default profile when it has profiles of its own; `devices` are that one's."""
    check_name(wanted.name)
    given = {key: value for key, value in strings(wanted.config).items() if value != ""}
    config = dict.fromkeys(keys.FEATURES_ON, "true") | given
    keys.check(wanted.name, config)
    async with parts.locks.hold(allow.lock(wanted.name)):
        if parts.state.projects.find(wanted.name) is not None:
            raise AlreadyExists(f"Project {wanted.name!r} already exists")
        record = ProjectRecord(name=wanted.name, description=wanted.description or "", config=config)
        async with parts.state.change() as transaction:
            transaction.put(record)
            if has_own(record, Kind.PROFILES):
                transaction.put(replace(_default_profile(record.name), devices=devices or {}))
    parts.events.lifecycle("project-created", url(record.name), record.name)
    return record


def _default_profile(project: str) -> ProfileRecord:
    return ProfileRecord(name="default", project=project, description=f"Default profile of project {project}")


async def put(
    parts: Parts, name: str, wanted: ProjectPut, check: Callable[[ProjectRecord], None], *, merge: bool
) -> None:
    """Replace the settings, or merge them in."""
    async with parts.locks.hold(allow.lock(name)):
        record = parts.state.projects.get(name)
        check(record)
        config = (record.config if merge else {}) | strings(wanted.config)
        kept = record.description if wanted.description is None and merge else wanted.description or ""
        changed = replace(record, description=kept, config={key: value for key, value in config.items() if value != ""})
        keys.check(name, changed.config)
        _check_features(parts, record, changed)
        allow.project(parts, changed)
        async with parts.state.change() as transaction:
            transaction.put(changed)
            profile = parts.state.profiles.find(name, "default")
            if has_own(changed, Kind.PROFILES) and profile is None:
                transaction.put(_default_profile(name))
            elif not has_own(changed, Kind.PROFILES) and profile is not None:
                transaction.delete(profile)
    parts.events.lifecycle("project-updated", url(name), name)


def _check_features(parts: Parts, old: ProjectRecord, new: ProjectRecord) -> None:
    moved = [kind for kind in Kind if _feature(old.config, kind) != _feature(new.config, kind)]
    if not moved:
        return
    if old.name == DEFAULT:
        raise Invalid("You can't change the features of the default project")
    if not is_empty(parts, old.name):
        raise Invalid(f'Project feature "features.{moved[0]}" cannot be changed on non-empty projects')


def _feature(config: Config, kind: Kind) -> bool:
    return as_bool(config.get(f"features.{kind}"))


def rename(parts: Parts, name: str, new: str) -> Operation:
    if name == DEFAULT:
        raise Forbidden("The 'default' project cannot be renamed")
    check_name(new)
    parts.state.projects.get(name)
    _check_renamed(parts, name, new)

    async def work(operation: Operation) -> None:
        async with parts.locks.hold(allow.lock(name), allow.lock(new)):
            record = parts.state.projects.get(name)
            _check_renamed(parts, name, new)
            async with parts.state.change() as transaction:
                transaction.delete(record)
                transaction.put(replace(record, name=new))
                for profile in parts.state.profiles.all(name):
                    transaction.delete(profile)
                    transaction.put(replace(profile, project=new))
                for key in _keys_to(parts, name):
                    transaction.put(replace(key, projects=[new if each == name else each for each in key.projects]))
        parts.events.lifecycle("project-renamed", url(new), new, {"old_name": name})

    return parts.operations.start("Renaming project", work, project="", resources={"projects": [url(name)]})


def _keys_to(parts: Parts, name: str) -> list[CertificateRecord | TokenRecord]:
    """The certificates and tokens that are restricted to projects of which this is one."""
    found: list[CertificateRecord | TokenRecord] = [*parts.state.certificates.all(), *parts.state.tokens.all()]
    return [each for each in found if name in each.projects]


def _check_renamed(parts: Parts, name: str, new: str) -> None:
    if parts.state.projects.find(new) is not None:
        raise AlreadyExists(f"A project named {new!r} already exists")
    if not is_empty(parts, name):
        raise Invalid("Only empty projects can be renamed")


async def delete(parts: Parts, name: str) -> None:
    if name == DEFAULT:
        raise Forbidden("The 'default' project cannot be deleted")
    async with parts.locks.hold(allow.lock(name)):
        record = parts.state.projects.get(name)
        if not is_empty(parts, name):
            raise Invalid("Only empty projects can be removed")
        async with parts.state.change() as transaction:
            transaction.delete(record, *parts.state.profiles.all(name))
            for key in _keys_to(parts, name):
                transaction.put(replace(key, projects=[each for each in key.projects if each != name]))
    await asyncio.to_thread(_remove_folder, parts.directory / "instances" / name)
    parts.events.lifecycle("project-deleted", url(name), name)


def _remove_folder(path: Path) -> None:
    """The empty folder in which the project's instances were."""
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
