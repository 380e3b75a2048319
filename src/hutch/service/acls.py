"""Network ACLs: create, change, rename, delete, and put in force on the networks that they concern."""

import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import quote

from msgspec.structs import asdict, replace

from hutch.errors import AlreadyExists, Invalid
from hutch.network.drivers.bridge import Driver as Bridge
from hutch.schema.acl import AclPut, AclRecord, AclRule
from hutch.schema.base import Config, strings
from hutch.schema.keys.base import check_all
from hutch.schema.keys.proxy import port_numbers
from hutch.service import uses
from hutch.service.merging import merged
from hutch.service.parts import Parts

LOCK = "networks"


def url(project: str, name: str) -> str:
    path = f"/1.0/network-acls/{quote(name, safe='')}"
    return path if project == "default" else f"{path}?project={quote(project, safe='')}"


def document(parts: Parts, record: AclRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "description": record.description,
        "config": record.config,
        "ingress": [asdict(rule) for rule in record.ingress],
        "egress": [asdict(rule) for rule in record.egress],
        "used_by": used_by(parts, record),
        "project": record.project,
    }


def editable(record: AclRecord) -> dict[str, Any]:
    return {
        "description": record.description,
        "config": record.config,
        "ingress": [asdict(rule) for rule in record.ingress],
        "egress": [asdict(rule) for rule in record.egress],
    }


def names(config: Config) -> list[str]:
    """The ACLs that a network or a nic has."""
    return [name.strip() for name in config.get("security.acls", "").split(",") if name.strip()]


def used_by(parts: Parts, record: AclRecord) -> list[str]:
    from hutch.service import networks

    by_networks = [
        networks.url(each.project, each.name)
        for each in parts.state.networks.all(record.project)
        if record.name in names(each.config)
    ]
    by_nics = uses.by_device(parts, lambda device: device.get("type") == "nic" and record.name in names(device))
    by_acls = [
        url(each.project, each.name)
        for each in parts.state.acls.all(record.project)
        if each.name != record.name and record.name in _referred(each)
    ]
    return [*by_networks, *by_nics, *by_acls]


def check_names(parts: Parts, project: str, config: Config) -> None:
    """Invalid when a network names an ACL that does not exist."""
    for name in names(config):
        if parts.state.acls.find(project, name) is None:
            raise Invalid(f"Network ACL {name!r} does not exist")


async def create(parts: Parts, project: str, wanted: AclPut) -> AclRecord:
    async with parts.locks.hold(LOCK):
        _check_name(wanted.name)
        _check_free(parts, project, wanted.name)
        record = AclRecord(
            name=wanted.name,
            project=project,
            description=wanted.description or "",
            config=strings(wanted.config),
            ingress=wanted.ingress or [],
            egress=wanted.egress or [],
        )
        _check(parts, record)
        await parts.state.put(record)
        await enforce(parts, project)
    parts.events.lifecycle("network-acl-created", url(project, record.name), project)
    return record


async def put(
    parts: Parts, project: str, name: str, wanted: AclPut, check: Callable[[AclRecord], None], *, merge: bool
) -> None:
    async with parts.locks.hold(LOCK):
        record = parts.state.acls.get(project, name)
        check(record)
        changed = replace(
            merged(record, wanted, merge=merge),
            ingress=record.ingress if wanted.ingress is None and merge else wanted.ingress or [],
            egress=record.egress if wanted.egress is None and merge else wanted.egress or [],
        )
        _check(parts, changed)
        await parts.state.put(changed)
        try:
            await enforce(parts, project)
        except BaseException:
            await parts.state.put(record)
            await enforce(parts, project)
            raise
    parts.events.lifecycle("network-acl-updated", url(project, name), project)


async def rename(parts: Parts, project: str, name: str, new: str) -> None:
    async with parts.locks.hold(LOCK):
        record = parts.state.acls.get(project, name)
        _check_name(new)
        _check_free(parts, project, new)
        _check_unused(parts, record)
        async with parts.state.change() as transaction:
            transaction.delete(record)
            transaction.put(replace(record, name=new))
        await enforce(parts, project)
    parts.events.lifecycle("network-acl-renamed", url(project, new), project, {"old_name": name})


async def delete(parts: Parts, project: str, name: str) -> None:
    async with parts.locks.hold(LOCK):
        record = parts.state.acls.get(project, name)
        _check_unused(parts, record)
        await parts.state.delete(record)
        await enforce(parts, project)
    parts.events.lifecycle("network-acl-deleted", url(project, name), project)


async def enforce(parts: Parts, project: str) -> None:
    """Every bridge of the project judges by the ACLs as they are now."""
    known = {record.name: record for record in parts.state.acls.all(project)}
    for record in parts.state.networks.all(project):
        network = parts.networks.get(record.name)
        if isinstance(network, Bridge):
            await network.judge(known)


def _check_free(parts: Parts, project: str, name: str) -> None:
    if parts.state.acls.find(project, name) is not None:
        raise AlreadyExists("The network ACL already exists")


def _check_unused(parts: Parts, record: AclRecord) -> None:
    if using := used_by(parts, record):
        raise Invalid(f"Cannot change an ACL that is in use: by {', '.join(using)}")


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", name):
        raise Invalid(f"Invalid ACL name {name!r}: 1 to 63 letters, digits and inner hyphens are allowed")


def _referred(record: AclRecord) -> set[str]:
    words = [
        word for rule in (*record.ingress, *record.egress) for word in (*_words(rule.source), *_words(rule.destination))
    ]
    return {word for word in words if not _is_address(word)}


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


def _is_address(word: str) -> bool:
    try:
        for part in word.split("-") if word.count("-") == 1 else [word]:
            ip_network(part, strict=False)
    except ValueError:
        return False
    return True


def _check(parts: Parts, record: AclRecord) -> None:
    what = f"ACL {record.name!r}"
    check_all(what, record.config, {}, free=("user.",))
    known = {each.name for each in parts.state.acls.all(record.project)} | {record.name}
    for direction, rules in (("ingress", record.ingress), ("egress", record.egress)):
        for number, rule in enumerate(rules):
            try:
                _check_rule(rule, known)
            except Invalid as error:
                raise Invalid(f"{what}: Invalid {direction} rule {number}: {error}") from error


def _check_rule(rule: AclRule, known: Iterable[str]) -> None:
    _one_of("action", rule.action, "allow", "reject", "drop")
    _one_of("state", rule.state, "enabled", "disabled", "logged")
    _one_of("protocol", rule.protocol, "", "tcp", "udp", "icmp4", "icmp6")
    versions = [set(_versions(value, known)) for value in (rule.source, rule.destination) if value]
    if len(versions) == 2 and versions[0] and versions[1] and not versions[0] & versions[1]:
        raise Invalid("Conflicting IP family types used for source and destination")
    if (rule.source_port or rule.destination_port) and rule.protocol not in ("tcp", "udp"):
        raise Invalid("ports need the protocol tcp or udp")
    for ports in (rule.source_port, rule.destination_port):
        if ports:
            port_numbers(ports)
    if (rule.icmp_type or rule.icmp_code) and rule.protocol not in ("icmp4", "icmp6"):
        raise Invalid("icmp_type and icmp_code need the protocol icmp4 or icmp6")
    for value in (rule.icmp_type, rule.icmp_code):
        if value and not (value.isdigit() and int(value) < 256):
            raise Invalid(f"invalid ICMP number {value!r}: 0 to 255 is expected")


def _one_of(what: str, value: str, *words: str) -> None:
    if value not in words:
        raise Invalid(f"Invalid {what} {value!r} (not one of {', '.join(filter(None, words))})")


def _versions(value: str, known: Iterable[str]) -> Iterable[int]:
    for word in _words(value):
        if word in ("@internal", "@external", "#internal", "#external") or word in known:
            yield from (4, 6)
        elif not _is_address(word):
            raise Invalid(f"{word!r} is no address, subnet, range, ACL, @internal or @external")
        elif "-" in word:
            first, last = (ip_address(part) for part in word.split("-"))
            if first.version != last.version or int(first) > int(last):
                raise Invalid(f"invalid range {word!r}")
            yield first.version
        else:
            yield ip_network(word, strict=False).version
