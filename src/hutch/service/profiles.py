"""Profiles: config and devices that instances share; a change reaches the running ones at once."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from hutch.access.projects import Kind, tenants
from hutch.errors import AlreadyExists, Conflict, Forbidden, Invalid
from hutch.schema.base import Config, Devices, strings
from hutch.schema.instance import InstanceRecord
from hutch.schema.keys import instance as keys
from hutch.schema.profile import ProfilePut, ProfileRecord
from hutch.service import allow
from hutch.service.instances import expand, render, rules, update
from hutch.service.parts import Parts, instance_lock


def url(project: str, name: str) -> str:
    path = f"/1.0/profiles/{quote(name, safe='')}"
    return path if project == "default" else f"{path}?project={quote(project, safe='')}"


def users(parts: Parts, record: ProfileRecord) -> list[InstanceRecord]:
    """The instances that use the profile, of every project that sees it."""
    places = tenants(parts.state, record.project, Kind.PROFILES)
    return [each for each in parts.state.instances.all() if each.project in places and record.name in each.profiles]


def document(parts: Parts, record: ProfileRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "description": record.description,
        "config": record.config,
        "devices": record.devices,
        "used_by": [render.url(each.project, each.name) for each in users(parts, record)],
        "project": record.project,
    }


def editable(record: ProfileRecord) -> dict[str, Any]:
    return {"description": record.description, "config": record.config, "devices": record.devices}


def check_name(name: str) -> None:
    if not name or name in (".", "..") or "/" in name or any(ord(letter) < 33 for letter in name):
        raise Invalid(f"Invalid profile name {name!r}: slashes and spaces are not allowed")


async def create(parts: Parts, project: str, wanted: ProfilePut) -> ProfileRecord:
    check_name(wanted.name)
    async with parts.locks.hold(f"profile/{project}/{wanted.name}"):
        if parts.state.profiles.find(project, wanted.name) is not None:
            raise AlreadyExists(f"Profile {wanted.name!r} already exists")
        record = ProfileRecord(
            name=wanted.name,
            project=project,
            description=wanted.description or "",
            config=strings(wanted.config),
            devices={name: strings(each) for name, each in (wanted.devices or {}).items()},
        )
        _check(parts, record)
        async with allow.settled(parts, project):
            allow.profile(parts, record)
            await parts.state.put(record)
    parts.events.lifecycle("profile-created", url(project, record.name), project)
    return record


def _check(parts: Parts, record: ProfileRecord) -> None:
    keys.check(f"profile {record.name!r}", record.config)
    rules.check_devices(parts, record.project, f"profile-{record.name}", record.config, record.devices)


async def put(
    parts: Parts, project: str, name: str, wanted: ProfilePut, check: Callable[[ProfileRecord], None], *, merge: bool
) -> None:
    """Replace the settings, or merge config and devices into them."""
    async with parts.locks.hold(f"profile/{project}/{name}"):
        record = parts.state.profiles.get(project, name)
        check(record)
        config = strings(wanted.config)
        devices: Devices = {device: strings(each) for device, each in (wanted.devices or {}).items()}
        if merge:
            config, devices = record.config | config, record.devices | devices
        changed = replace(
            record,
            description=record.description if wanted.description is None and merge else wanted.description or "",
            config={key: value for key, value in config.items() if value != ""},
            devices=devices,
        )
        _check(parts, changed)
        await _apply(parts, record, changed)
    parts.events.lifecycle("profile-updated", url(project, name), project)


async def _apply(parts: Parts, old: ProfileRecord, new: ProfileRecord) -> None:
    """Store the profile and bring it to the instances that use it; those it cannot reach are named in the failure."""
    using = users(parts, old)
    locks = [instance_lock(each.project, each.name) for each in using]
    async with parts.locks.hold(*locks), allow.settled(parts, *tenants(parts.state, new.project, Kind.PROFILES)):
        allow.profile(parts, new)
        before: dict[tuple[str, str], tuple[Config, Devices]] = {
            (each.project, each.name): expand.of(parts.state, each) for each in using
        }
        await parts.state.put(new)
        failed = []
        for each in using:
            record = parts.state.instances.find(each.project, each.name)
            if record is None:
                continue
            try:
                after = expand.of(parts.state, record)
                settings = before[each.project, each.name]
                record = await update.apply(parts, record, settings, after)
                await parts.state.put(record)
                await update.tell_guest(parts, record, settings, after)
            except Invalid as error:
                failed.append(f"{each.name}: {error}")
        if failed:
            await parts.state.put(old)
            raise Conflict(f"the profile {new.name!r} does not fit instances that use it: {'; '.join(failed)}")


async def rename(parts: Parts, project: str, name: str, new: str) -> None:
    check_name(new)
    if name == "default":
        raise Forbidden("The 'default' profile cannot be renamed")
    async with parts.locks.hold(f"profile/{project}/{name}", f"profile/{project}/{new}"):
        record = parts.state.profiles.get(project, name)
        if parts.state.profiles.find(project, new) is not None:
            raise AlreadyExists(f"Profile {new!r} already exists")
        async with parts.state.change() as transaction:
            transaction.delete(record)
            transaction.put(replace(record, name=new))
            for each in users(parts, record):
                transaction.put(replace(each, profiles=[new if one == name else one for one in each.profiles]))
    parts.events.lifecycle("profile-renamed", url(project, new), project, {"old_name": name})


async def delete(parts: Parts, project: str, name: str) -> None:
    if name == "default":
        raise Forbidden("The 'default' profile cannot be deleted")
    async with parts.locks.hold(f"profile/{project}/{name}"):
        record = parts.state.profiles.get(project, name)
        if using := users(parts, record):
            raise Invalid(f"Profile is currently in use by {', '.join(each.name for each in using)}")
        await parts.state.delete(record)
    parts.events.lifecycle("profile-deleted", url(project, name), project)
