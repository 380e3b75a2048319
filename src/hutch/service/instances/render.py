"""Instances as the API shows them. What does not change between two requests is kept as JSON text and joined."""

import asyncio
from typing import Any
from urllib.parse import quote

from hutch.access.projects import Kind, home
from hutch.errors import NotFound
from hutch.kernel import interfaces
from hutch.schema.base import encode, timestamp
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.status import Status
from hutch.service.instances import expand
from hutch.service.parts import Parts


def status(parts: Parts, record: InstanceRecord) -> Status:
    running = parts.runtime.running(record.project, record.name)
    if running is None:
        return Status.STOPPED
    if running.frozen:
        return Status.FROZEN
    return Status.READY if record.config.get("volatile.last_state.ready") == "true" else Status.RUNNING


def document(parts: Parts, record: InstanceRecord) -> dict[str, Any]:
    """The 17 members of an instance."""
    config, devices = _expanded(parts, record)
    now = status(parts, record)
    return {
        "architecture": record.architecture,
        "config": record.config,
        "created_at": timestamp(record.created_at),
        "description": record.description,
        "devices": record.devices,
        "ephemeral": record.ephemeral,
        "expanded_config": config,
        "expanded_devices": devices,
        "last_used_at": timestamp(record.last_used_at),
        "location": "none",
        "name": record.name,
        "profiles": record.profiles,
        "project": record.project,
        "stateful": record.stateful,
        "status": now.text,
        "status_code": int(now),
        "type": record.type,
    }


def editable(record: InstanceRecord) -> dict[str, Any]:
    """What a PUT can change, without what changes by itself: the ETag stands for it."""
    config = {key: value for key, value in record.config.items() if not key.startswith("volatile.")}
    return {
        "architecture": record.architecture,
        "config": config,
        "description": record.description,
        "devices": record.devices,
        "ephemeral": record.ephemeral,
        "profiles": record.profiles,
    }


def snapshot_document(record: SnapshotRecord) -> dict[str, Any]:
    return {
        "architecture": record.architecture,
        "config": record.config,
        "created_at": timestamp(record.created_at),
        "description": record.description,
        "devices": record.devices,
        "ephemeral": record.ephemeral,
        "expanded_config": record.expanded_config,
        "expanded_devices": record.expanded_devices,
        "expires_at": timestamp(record.expires_at),
        "last_used_at": timestamp(record.last_used_at),
        "name": record.name,
        "profiles": record.profiles,
        "size": record.size,
        "stateful": record.stateful,
    }


def text(parts: Parts, record: InstanceRecord) -> bytes:
    """`document` as JSON, made anew only when the instance, one of its profiles or its state has changed."""
    key = (record.project, record.name)
    state = parts.state
    place = home(state, record.project, Kind.PROFILES)
    version = (
        state.instances.revision(*key),
        place,
        tuple(state.profiles.revision(place, name) for name in record.profiles),
        status(parts, record),
    )
    known = parts.rendered.get(key)
    if known is None or known[0] != version:
        known = parts.rendered[key] = (version, encode(document(parts, record)))
    return known[1]


async def full_text(
    parts: Parts, record: InstanceRecord, *, usage: bool = False, fields: frozenset[str] | None = None
) -> bytes:
    """`document` with state, snapshots and backups, as JSON. `fields`: the costly parts of the state that are wanted
    (state.disk, state.network; None for all), no state at all when there are none."""
    snapshots = [snapshot_document(each) for each in parts.state.snapshots.all(record.project, record.name)]
    kept = [
        {
            "name": each.name,
            "created_at": timestamp(each.created_at),
            "expires_at": timestamp(each.expires_at),
            "instance_only": each.only,
            "container_only": each.only,
            "optimized_storage": False,
        }
        for each in parts.state.backups.all("container", "-", record.project, record.name)
    ]
    shown = None
    if fields is None:
        shown = await state(parts, record, usage=usage)
    elif fields:
        disk = "state.disk" in fields
        shown = await state(parts, record, usage=disk, network="state.network" in fields)
        shown |= {} if disk else {"disk": None}
    more = {"backups": kept or None, "state": shown, "snapshots": snapshots or None}
    return text(parts, record)[:-1] + b"," + encode(more)[1:]


async def state(parts: Parts, record: InstanceRecord, *, usage: bool = True, network: bool = True) -> dict[str, Any]:
    """What the instance uses now. `usage`: measure the disk too, which may walk a tree. `network`: ask the guest's own."""
    disk = await _disk(parts, record) if usage else {}
    running = parts.runtime.running(record.project, record.name)
    guest = await _guest(parts, record, running.init, network=network) if running is not None else None
    # the guest may have ended while it was looked at
    now = status(parts, record) if guest is not None else Status.STOPPED
    return {"status": now.text, "status_code": int(now), "disk": disk} | (guest or _NO_GUEST)


_NO_GUEST: dict[str, Any] = {
    "memory": {"usage": 0, "usage_peak": 0, "swap_usage": 0, "swap_usage_peak": 0},
    "network": None,
    "pid": 0,
    "processes": 0,
    "cpu": {"usage": 0},
}


async def _guest(parts: Parts, record: InstanceRecord, init: int, *, network: bool) -> dict[str, Any] | None:
    """What only a running guest has; None when it has ended."""
    interfaces_of_it = await _network(record, init) if network else None
    try:
        used = await asyncio.to_thread(parts.runtime.usage, record.project, record.name)
    except NotFound:
        return None
    if parts.runtime.running(record.project, record.name) is None:
        return None
    return {
        "memory": {
            "usage": used.memory,
            "usage_peak": used.memory_peak,
            "swap_usage": used.swap,
            "swap_usage_peak": used.swap_peak,
        },
        "network": interfaces_of_it,
        "pid": init,
        "processes": used.processes,
        "cpu": {"usage": used.cpu},
    }


async def _network(record: InstanceRecord, pid: int) -> dict[str, Any]:
    hosts = {
        record.config.get(key.removesuffix("host_name") + "hwaddr", ""): value
        for key, value in record.config.items()
        if key.startswith("volatile.") and key.endswith(".host_name")
    }
    shown = {}
    for each in await interfaces.of(pid):
        shown[each.name] = {
            "addresses": [
                {"family": family, "address": address, "netmask": str(prefix), "scope": scope}
                for family, address, prefix, scope in each.addresses
            ],
            "counters": {
                "bytes_received": each.received[0],
                "bytes_sent": each.sent[0],
                "packets_received": each.received[1],
                "packets_sent": each.sent[1],
                "errors_received": each.received[2],
                "errors_sent": each.sent[2],
                "packets_dropped_inbound": each.received[3],
                "packets_dropped_outbound": each.sent[3],
            },
            "hwaddr": each.hwaddr,
            "host_name": hosts.get(each.hwaddr, "") if each.hwaddr else "",
            "mtu": each.mtu,
            "state": "up" if each.up else "down",
            "type": each.type,
        }
    return shown


async def _disk(parts: Parts, record: InstanceRecord) -> dict[str, Any]:
    _, devices = _expanded(parts, record)
    root = expand.root_disk(devices)
    if root is None or (pool := parts.pools.get(root[1].get("pool", ""))) is None:
        return {}
    from hutch.service.instances.volume import of, size

    return {root[0]: {"usage": await pool.usage(of(record)), "total": size(devices)}}


def _expanded(parts: Parts, record: InstanceRecord) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    return expand.of(parts.state, record)


def url(project: str, name: str, collection: str = "instances") -> str:
    path = f"/1.0/{collection}/{quote(name, safe='')}"
    return path if project == "default" else f"{path}?project={quote(project, safe='')}"


def resources(project: str, *names: str) -> dict[str, list[str]]:
    """The `resources` of an operation on instances: containers list both kinds of URL."""
    return {kind: [url(project, name, kind) for name in names] for kind in ("instances", "containers")}
