"""Every address that managed networks have given out, and to whom."""

from ipaddress import ip_interface
from typing import Any

from hutch.network.base import Lease
from hutch.schema.base import Config
from hutch.schema.keys.base import as_bool
from hutch.schema.network import NetworkRecord
from hutch.service import forwards, networks
from hutch.service.instances import render
from hutch.service.parts import Parts


async def every(parts: Parts, project: str) -> list[dict[str, Any]]:
    """Of the networks of a project: their own addresses, those of forwards, and those of instances' nics."""
    found: list[dict[str, Any]] = []
    for record in parts.state.networks.all(project):
        found += _own(record)
        found += [
            _entry(
                record,
                forward.listen_address,
                forwards.url(project, record.name, forward.listen_address),
                "network-forward",
            )
            for forward in parts.state.forwards.all(project, record.name)
        ]
        if (network := parts.networks.get(record.name)) is not None:
            owners = _owners(parts)
            for lease in await network.leases():
                if lease.type != "gateway":
                    found.append(_leased(record, lease, owners))
    return found


def _own(record: NetworkRecord) -> list[dict[str, Any]]:
    values = [record.config.get(f"ipv{version}.address", "none") for version in (4, 6)]
    url = networks.url(record.project, record.name)
    return [_entry(record, value, url, "network") for value in values if value not in ("", "none")]


def _leased(record: NetworkRecord, lease: Lease, owners: dict[str, str]) -> dict[str, Any]:
    used_by = owners.get(lease.hwaddr.lower(), "")
    return _entry(record, lease.address, used_by, "instance" if used_by else "uplink", hwaddr=lease.hwaddr)


def _owners(parts: Parts) -> dict[str, str]:
    """URLs of instances by the hardware addresses of their nics."""
    return {
        value.lower(): render.url(record.project, record.name)
        for record in parts.state.instances.all()
        for key, value in record.config.items()
        if key.startswith("volatile.") and key.endswith(".hwaddr")
    }


def _entry(record: NetworkRecord, address: str, used_by: str, kind: str, *, hwaddr: str = "") -> dict[str, Any]:
    length = 128 if ":" in address else 32
    return {
        "address": address if "/" in address else f"{address}/{length}",
        "used_by": used_by,
        "type": kind,
        "hwaddr": hwaddr,
        "nat": _nat(record.config, address),
        "network": record.name,
    }


def _nat(config: Config, address: str) -> bool:
    return as_bool(config.get(f"ipv{ip_interface(address).version}.nat"))
