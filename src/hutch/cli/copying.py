"""The request for an instance that is like another one."""

from typing import Any

from hutch.client.connection import Document


def request(found: Document, name: str, config: dict[str, Any], pool: str) -> Document:
    """The body of the creation of an instance with what `found` has, under the name, with this config, on the pool if any."""
    devices = dict(found.get("devices") or {})
    if pool:
        root = next((each for each, device in devices.items() if _is_root(device)), "root")
        devices[root] = (devices.get(root) or {"type": "disk", "path": "/"}) | {"pool": pool}
    return {
        "name": name,
        "architecture": found.get("architecture") or "",
        "description": found.get("description") or "",
        "config": config,
        "devices": devices,
        "profiles": found.get("profiles"),
        "ephemeral": bool(found.get("ephemeral")),
    }


def _is_root(device: dict[str, str]) -> bool:
    return device.get("type") == "disk" and device.get("path") == "/"
