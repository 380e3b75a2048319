"""The interfaces of the daemon's network namespace as the API shows them, managed or not."""

from dataclasses import asdict
from typing import Any

from hutch.errors import NotFound
from hutch.kernel import ip
from hutch.kernel.ip import Interface

_TYPES = {"bridge": "bridge", "bond": "bond", "vlan": "vlan", "": "physical", "dummy": "unknown"}
_SCOPES = {"host": "local"}


async def present() -> dict[str, str]:
    """Every interface's type by its name: bridge, bond, vlan, physical, loopback or unknown; without guests' veth pairs."""
    return {link.name: _kind(link) for link in await ip.interfaces() if not link.name.startswith("veth")}


def _kind(link: Interface) -> str:
    return "loopback" if "LOOPBACK" in link.flags else _TYPES.get(link.kind, "unknown")


async def state(name: str) -> dict[str, Any]:
    """GET /1.0/networks/NAME/state. Raises NotFound."""
    links = await ip.interfaces()
    found = next((link for link in links if link.name == name), None)
    if found is None:
        raise NotFound(f"Network interface {name!r} not found")
    return {
        "addresses": [
            {
                "family": item.family,
                "address": item.address,
                "netmask": str(item.prefix),
                "scope": _SCOPES.get(item.scope, item.scope),
            }
            for item in found.addresses
        ],
        "counters": asdict(found.counters),
        "hwaddr": "" if "LOOPBACK" in found.flags else found.hwaddr,
        "mtu": found.mtu,
        "state": "up" if found.up else "down",
        "type": _broadcast(found),
        "bond": None,
        "bridge": _bridge(found, links) if found.kind == "bridge" else None,
        "vlan": {"lower_device": found.lower, "vid": found.details.get("id", 0)} if found.kind == "vlan" else None,
        "ovn": None,
    }


def _broadcast(link: Interface) -> str:
    for flag, word in (("LOOPBACK", "loopback"), ("POINTOPOINT", "point-to-point"), ("BROADCAST", "broadcast")):
        if flag in link.flags:
            return word
    return "unknown"


def _bridge(bridge: Interface, links: list[Interface]) -> dict[str, Any]:
    details = bridge.details
    return {
        "id": details.get("bridge_id", ""),
        "stp": bool(details.get("stp_state", 0)),
        "forward_delay": details.get("forward_delay", 0),
        "vlan_default": details.get("vlan_default_pvid", 1),
        "vlan_filtering": bool(details.get("vlan_filtering", 0)),
        "upper_devices": [link.name for link in links if link.master == bridge.name],
    }
