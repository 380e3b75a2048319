"""Forwards of managed networks: create, change, delete, and put in force."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

from msgspec.structs import asdict, replace

from hutch.errors import AlreadyExists, Invalid, NotFound, Unsupported
from hutch.network.drivers.bridge import Driver as Bridge
from hutch.network.forward import pairs
from hutch.schema.base import strings
from hutch.schema.forward import ForwardPort, ForwardPut, ForwardRecord
from hutch.schema.keys.base import check_all
from hutch.schema.keys.forward import FORWARD
from hutch.schema.keys.proxy import port_numbers
from hutch.service.merging import merged
from hutch.service.parts import Parts


def url(project: str, network: str, address: str) -> str:
    path = f"/1.0/networks/{quote(network, safe='')}/forwards/{quote(address, safe='')}"
    return path if project == "default" else f"{path}?project={quote(project, safe='')}"


def document(record: ForwardRecord) -> dict[str, Any]:
    return {
        "listen_address": record.listen_address,
        "description": record.description,
        "config": record.config,
        "ports": [asdict(port) for port in record.ports],
        "location": "",
    }


def editable(record: ForwardRecord) -> dict[str, Any]:
    return {
        "description": record.description,
        "config": record.config,
        "ports": [asdict(port) for port in record.ports],
    }


def find(parts: Parts, project: str, network: str, address: str) -> ForwardRecord:
    return parts.state.forwards.get(project, network, _address(address))


async def create(parts: Parts, project: str, network: str, wanted: ForwardPut) -> ForwardRecord:
    async with parts.locks.hold(f"network/{network}", "networks"):
        bridge = _bridge(parts, project, network)
        record = ForwardRecord(
            network=network,
            project=project,
            listen_address=_address(wanted.listen_address),
            description=wanted.description or "",
            config=strings(wanted.config),
            ports=wanted.ports or [],
        )
        _check(parts, bridge, record)
        for other in parts.state.forwards.all():
            if other.listen_address == record.listen_address:
                raise AlreadyExists(
                    f"A forward for the address {record.listen_address} exists already, for the network {other.network!r}"
                )
        await _apply(parts, bridge, record)
    parts.events.lifecycle("network-forward-created", url(project, network, record.listen_address), project)
    return record


async def put(
    parts: Parts,
    project: str,
    network: str,
    address: str,
    wanted: ForwardPut,
    check: Callable[[ForwardRecord], None],
    *,
    merge: bool,
) -> None:
    async with parts.locks.hold(f"network/{network}", "networks"):
        bridge = _bridge(parts, project, network)
        record = find(parts, project, network, address)
        check(record)
        changed = replace(
            merged(record, wanted, merge=merge),
            ports=record.ports if wanted.ports is None and merge else wanted.ports or [],
        )
        _check(parts, bridge, changed)
        await _apply(parts, bridge, changed)
    parts.events.lifecycle("network-forward-updated", url(project, network, record.listen_address), project)


async def delete(parts: Parts, project: str, network: str, address: str) -> None:
    async with parts.locks.hold(f"network/{network}", "networks"):
        bridge = _bridge(parts, project, network)
        record = find(parts, project, network, address)
        await parts.state.delete(record)
        await bridge.forward(parts.state.forwards.all(project, network))
    parts.events.lifecycle("network-forward-deleted", url(project, network, record.listen_address), project)


def _bridge(parts: Parts, project: str, network: str) -> Bridge:
    parts.state.networks.get(project, network)
    found = parts.networks.get(network)
    if found is None:
        raise NotFound(f"Network {network!r} not found")
    if not isinstance(found, Bridge):
        raise Unsupported(f"Network {network!r} has no forwards: only bridges have")
    return found


async def _apply(parts: Parts, bridge: Bridge, record: ForwardRecord) -> None:
    """In force first: what the kernel refuses is not recorded."""
    others = [
        each
        for each in parts.state.forwards.all(record.project, record.network)
        if each.listen_address != record.listen_address
    ]
    await bridge.forward([*others, record])
    await parts.state.put(record)


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise Invalid(f"Invalid listen address {value!r}: an IP address is expected") from None


def _check(parts: Parts, bridge: Bridge, record: ForwardRecord) -> None:
    what = f"forward {record.listen_address}"
    check_all(what, record.config, FORWARD, free=("user.",))
    listen = ip_address(record.listen_address)
    gateway = bridge.ipv4 if listen.version == 4 else bridge.ipv6
    if gateway is None:
        raise Invalid(f"{what}: the network {bridge.name!r} has no IPv{listen.version}")
    if listen == gateway.ip or listen.is_unspecified or listen.is_loopback or listen.is_multicast:
        raise Invalid(f"{what}: this address cannot be forwarded")
    default = record.config.get("target_address", "")
    if default:
        _check_target(what, bridge, listen.version, default)
    seen: set[tuple[str, int]] = set()
    for port in record.ports:
        if port.protocol not in ("tcp", "udp"):
            raise Invalid(f"{what}: Invalid port protocol {port.protocol!r}: tcp or udp is expected")
        if not (port.target_address or default):
            raise Invalid(f"{what}: the port {port.listen_port} needs a target_address")
        _check_target(what, bridge, listen.version, port.target_address or default)
        _check_ports(what, port)
        for number in port_numbers(port.listen_port):
            if (port.protocol, number) in seen:
                raise Invalid(f"{what}: Duplicate listen port {number} for protocol {port.protocol!r}")
            seen.add((port.protocol, number))


def _check_ports(what: str, port: ForwardPort) -> None:
    try:
        pairs(port.listen_port, port.target_port)
    except ValueError:
        raise Invalid(
            f"{what}: {port.listen_port} and {port.target_port} are not as many ports: give one target port, or as many"
        ) from None


def _check_target(what: str, bridge: Bridge, version: int, value: str) -> None:
    try:
        target = ip_address(value)
    except ValueError:
        raise Invalid(f"{what}: Invalid target address {value!r}") from None
    gateway = bridge.ipv4 if version == 4 else bridge.ipv6
    if target.version != version or gateway is None or target not in gateway.network:
        raise Invalid(f"{what}: Target address {value!r} is not within the network subnet")
