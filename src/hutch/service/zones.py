"""DNS zones: create, change, delete, their records, and what they hold."""

import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

from msgspec.structs import asdict, replace

from hutch.errors import AlreadyExists, Invalid
from hutch.network import dns
from hutch.network.reservations import dns_name
from hutch.schema.base import strings
from hutch.schema.keys import zone as keys
from hutch.schema.keys.base import as_bool, check_all
from hutch.schema.keys.network import domain, domains
from hutch.schema.network import NetworkRecord
from hutch.schema.zone import DnsEntry, DnsRecord, DnsRecordPut, ZonePut, ZoneRecord
from hutch.service import networks
from hutch.service.merging import merged
from hutch.service.parts import Parts

_TTL = 300
NETWORK_KEYS = ("dns.zone.forward", "dns.zone.reverse.ipv4", "dns.zone.reverse.ipv6")


def url(project: str, name: str, *more: str) -> str:
    path = "/".join(["/1.0/network-zones", *(quote(word, safe="") for word in (name, *more))])
    return path if project == "default" else f"{path}?project={quote(project, safe='')}"


def named(network: NetworkRecord, key: str) -> list[str]:
    return [each.strip() for each in network.config.get(key, "").split(",") if each.strip()]


def used_by(parts: Parts, record: ZoneRecord) -> list[str]:
    return [
        networks.url(each.project, each.name)
        for each in parts.state.networks.all()
        if any(record.name in named(each, key) for key in NETWORK_KEYS)
    ]


def document(parts: Parts, record: ZoneRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "description": record.description,
        "config": record.config,
        "used_by": used_by(parts, record),
        "project": record.project,
    }


def editable(record: ZoneRecord) -> dict[str, Any]:
    return {"description": record.description, "config": record.config}


def entry_document(record: DnsRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "description": record.description,
        "entries": [asdict(each) for each in record.entries],
        "config": record.config,
    }


async def create(parts: Parts, project: str, wanted: ZonePut) -> ZoneRecord:
    async with parts.locks.hold("zones"):
        domain(wanted.name)
        if any(each.name == wanted.name for each in parts.state.zones.all()):
            raise AlreadyExists(f"Network zone {wanted.name!r} already exists")
        record = ZoneRecord(
            name=wanted.name, project=project, description=wanted.description or "", config=strings(wanted.config)
        )
        keys.check(f"zone {record.name!r}", record.config)
        await parts.state.put(record)
    parts.events.lifecycle("network-zone-created", url(project, record.name), project)
    return record


async def put(
    parts: Parts, project: str, name: str, wanted: ZonePut, check: Callable[[ZoneRecord], None], *, merge: bool
) -> None:
    async with parts.locks.hold("zones"):
        record = parts.state.zones.get(project, name)
        check(record)
        changed = merged(record, wanted, merge=merge)
        keys.check(f"zone {name!r}", changed.config)
        await parts.state.put(changed)
    parts.events.lifecycle("network-zone-updated", url(project, name), project)


async def delete(parts: Parts, project: str, name: str) -> None:
    async with parts.locks.hold("zones"):
        record = parts.state.zones.get(project, name)
        if using := used_by(parts, record):
            raise Invalid(f"Cannot delete a zone that is in use: by {', '.join(using)}")
        await parts.state.delete(record, *parts.state.zone_records.all(project, name))
    parts.events.lifecycle("network-zone-deleted", url(project, name), project)


async def create_record(parts: Parts, project: str, zone: str, wanted: DnsRecordPut) -> DnsRecord:
    async with parts.locks.hold("zones"):
        parts.state.zones.get(project, zone)
        if parts.state.zone_records.find(project, zone, wanted.name) is not None:
            raise AlreadyExists(f"Network zone record {wanted.name!r} already exists")
        record = DnsRecord(
            zone=zone,
            project=project,
            name=wanted.name,
            description=wanted.description or "",
            entries=wanted.entries or [],
            config=strings(wanted.config),
        )
        _check_record(record)
        await parts.state.put(record)
    parts.events.lifecycle("network-zone-record-created", url(project, zone, "records", record.name), project)
    return record


async def put_record(
    parts: Parts,
    project: str,
    zone: str,
    name: str,
    wanted: DnsRecordPut,
    check: Callable[[DnsRecord], None],
    *,
    merge: bool,
) -> None:
    async with parts.locks.hold("zones"):
        record = parts.state.zone_records.get(project, zone, name)
        check(record)
        changed = replace(
            merged(record, wanted, merge=merge),
            entries=record.entries if wanted.entries is None and merge else wanted.entries or [],
        )
        _check_record(changed)
        await parts.state.put(changed)
    parts.events.lifecycle("network-zone-record-updated", url(project, zone, "records", name), project)


async def delete_record(parts: Parts, project: str, zone: str, name: str) -> None:
    async with parts.locks.hold("zones"):
        await parts.state.delete(parts.state.zone_records.get(project, zone, name))
    parts.events.lifecycle("network-zone-record-deleted", url(project, zone, "records", name), project)


def _check_record(record: DnsRecord) -> None:
    what = f"record {record.name!r}"
    if record.name != "@":
        domain(record.name.replace("_", "a").replace("*", "a"))
    check_all(what, record.config, {}, free=("user.",))
    for entry in record.entries:
        if entry.type == "SOA" or entry.type not in dns.TYPES:
            raise Invalid(
                f"{what}: Invalid record type {entry.type!r}: {', '.join(sorted(set(dns.TYPES) - {'SOA'}))} are known"
            )
        dns.data(entry.type, entry.value)
        if entry.ttl < 0 or entry.ttl > 1 << 31:
            raise Invalid(f"{what}: invalid ttl {entry.ttl}")


def check_names(parts: Parts, config: dict[str, str]) -> None:
    """Invalid when a network names a zone that does not exist."""
    for key in NETWORK_KEYS:
        for name in (each.strip() for each in config.get(key, "").split(",") if each.strip()):
            if all(each.name != name for each in parts.state.zones.all()):
                raise Invalid(f"Network zone {name!r} does not exist")


async def contents(parts: Parts, record: ZoneRecord) -> tuple[dns.Entry, list[dns.Entry]]:
    """The SOA, and everything else: name servers, guests and gateways of the networks, records made by hand."""
    servers = (
        domains(record.config["dns.nameservers"]) if record.config.get("dns.nameservers") else [f"hutch.{record.name}"]
    )
    serial = int(time.time())
    soa = dns.Entry(record.name, "SOA", _TTL, f"{servers[0]}. hostmaster.{record.name}. {serial} 120 60 86400 30")
    found = [dns.Entry(record.name, "NS", _TTL, f"{server}.") for server in servers]
    for network in parts.state.networks.all():
        found += await _of_network(parts, record, network)
    for own in parts.state.zone_records.all(record.project, record.name):
        whole = record.name if own.name == "@" else f"{own.name}.{record.name}"
        found += [_entry(whole, each) for each in own.entries]
    return soa, list(dict.fromkeys(found))


def _entry(name: str, entry: DnsEntry) -> dns.Entry:
    return dns.Entry(name, entry.type, entry.ttl or _TTL, entry.value)


async def _of_network(parts: Parts, zone: ZoneRecord, network: NetworkRecord) -> list[dns.Entry]:
    driver = parts.networks.get(network.name)
    keys_with = [key for key in NETWORK_KEYS if zone.name in named(network, key)]
    if driver is None or not keys_with:
        return []
    found = []
    for lease in await driver.leases():
        address = ip_address(lease.address)
        if as_bool(network.config.get(f"ipv{address.version}.nat")) and not as_bool(
            zone.config.get("network.nat"), True
        ):
            continue
        gateway = lease.type == "gateway"
        name = f"{network.name}.gw" if gateway else dns_name(network.project, lease.hostname)
        if not lease.hostname:
            continue
        if "dns.zone.forward" in keys_with:
            kind = "A" if address.version == 4 else "AAAA"
            found.append(dns.Entry(f"{name}.{zone.name}", kind, _TTL, str(address)))
        if f"dns.zone.reverse.ipv{address.version}" in keys_with:
            pointer = address.reverse_pointer
            forward = (named(network, "dns.zone.forward") or [network.config.get("dns.domain") or "lxd"])[0]
            if pointer == zone.name or pointer.endswith(f".{zone.name}"):
                found.append(dns.Entry(pointer, "PTR", _TTL, f"{name}.{forward}."))
    return found
