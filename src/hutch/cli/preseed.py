"""Sets a daemon up from LXD's preseed document: config, storage pools, networks, projects and profiles."""

from typing import Any

from hutch import errors
from hutch.cli.command import Options
from hutch.cli.session import Session
from hutch.client.connection import Client, Document, url

POOL, BRIDGE, PROFILE = "default", "hutchbr0", "default"
KNOWN = ("config", "storage_pools", "networks", "projects", "profiles")
KINDS = (
    ("storage_pools", "storage-pools", ("name", "driver", "description", "config")),
    ("networks", "networks", ("name", "type", "description", "config")),
    ("projects", "projects", ("name", "description", "config")),
    ("profiles", "profiles", ("name", "description", "config", "devices")),
)


def automatic(options: Options) -> Document:
    """What `hutch admin init --auto` sets up."""
    config: dict[str, str] = {}
    if options.storage_create_device:
        config["source"] = options.storage_create_device
    if options.storage_create_loop:
        config["size"] = f"{options.storage_create_loop}GB"
    return document(
        driver=options.storage_backend or ("btrfs" if config else "overlay"),
        pool_config=config,
        address=options.network_address or "",
    )


def document(
    *,
    driver: str,
    pool: str = POOL,
    pool_config: dict[str, str] | None = None,
    network: str = BRIDGE,
    network_config: dict[str, str] | None = None,
    address: str = "",
) -> Document:
    """A pool, a bridge, and a default profile that uses both. Without a driver or a network, none is made."""
    devices: dict[str, dict[str, str]] = {}
    if driver:
        devices["root"] = {"type": "disk", "path": "/", "pool": pool}
    if network:
        devices["eth0"] = {"type": "nic", "name": "eth0", "network": network}
    return {
        "config": {"core.https_address": address} if address else {},
        "storage_pools": [{"name": pool, "driver": driver, "config": pool_config or {}}] if driver else [],
        "networks": [{"name": network, "type": "bridge", "config": network_config or {}}] if network else [],
        "profiles": [{"name": PROFILE, "devices": devices}],
    }


def set_up(session: Session, wanted: Document) -> None:
    """Make what is missing; what exists is left as it is."""
    client = session.client
    if wanted["config"]:
        client.request("PATCH", "/1.0", {"config": wanted["config"]})
    for member, collection in (("storage_pools", "storage-pools"), ("networks", "networks")):
        for each in wanted[member]:
            if _existing(client, collection, each["name"]) is None:
                client.request("POST", f"/1.0/{collection}", each)
                session.say(f"Created {collection.rstrip('s').replace('-', ' ')} {each['name']}")
    for profile in wanted["profiles"]:
        _complete_profile(session, profile)


def _complete_profile(session: Session, wanted: Document) -> None:
    """Give the profile the devices that it lacks; a root disk under another name counts."""
    path = url("profiles", wanted["name"])
    reply = session.client.request("GET", path)
    devices: Document = dict(reply.metadata.get("devices") or {})
    has_root = any(device.get("type") == "disk" and device.get("path") == "/" for device in devices.values())
    missing = {
        name: device
        for name, device in wanted["devices"].items()
        if name not in devices and not (device["type"] == "disk" and has_root)
    }
    if missing:
        found = reply.metadata
        document = {"config": found.get("config") or {}, "description": found.get("description") or ""}
        session.client.request("PUT", path, document | {"devices": devices | missing}, etag=reply.etag)
        session.say(f"Completed profile {wanted['name']} with {' and '.join(sorted(missing))}")


def apply(session: Session, wanted: Document) -> None:
    """Make or change everything that the preseed names."""
    unknown = sorted(set(wanted) - set(KNOWN))
    if unknown:
        raise errors.Invalid(f"the preseed's {unknown[0]!r} is not supported; known are {', '.join(KNOWN)}")
    if wanted.get("config"):
        session.client.request("PATCH", "/1.0", {"config": wanted["config"]})
    for member, collection, members in KINDS:
        for each in wanted.get(member) or []:
            _apply_one(session.client, member, collection, members, each)


def _apply_one(client: Client, member: str, collection: str, members: tuple[str, ...], each: Any) -> None:
    from hutch.cli.yamltext import with_texts

    if not isinstance(each, dict) or not each.get("name"):
        raise errors.Invalid(f"every entry of the preseed's {member} needs a name")
    unknown = sorted(set(each) - {*members, "project"})
    if unknown:
        raise errors.Invalid(f"the preseed's {member} entry {each['name']!r} has an unknown member {unknown[0]!r}")
    each = with_texts(each)
    query = {"project": each.pop("project")} if each.get("project") not in (None, "default") else {}
    each.pop("project", None)
    found = _existing(client, collection, each["name"], query)
    if found is None:
        client.request("POST", f"/1.0/{collection}", each, query=query)
        return
    if each.get("driver", found.get("driver")) != found.get("driver"):
        raise errors.Conflict(f"the storage pool {each['name']} exists with the driver {found['driver']}")
    changed = {"description": each.get("description", found.get("description") or "")}
    for name in ("config", "devices"):
        if name in members:
            changed[name] = (found.get(name) or {}) | (each.get(name) or {})
    if any(value != (found.get(name) or type(value)()) for name, value in changed.items()):
        client.request("PUT", url(collection, each["name"]), changed, query=query)


def _place(each: Document) -> Document:
    """The project that it is in, unless that is the default one."""
    return {"project": each["project"]} if each.get("project") not in (None, "default") else {}


def _existing(client: Client, collection: str, name: str, query: dict[str, str] | None = None) -> Document | None:
    try:
        found: Document = client.get(url(collection, name), **(query or {}))
    except errors.NotFound:
        return None
    return None if found.get("managed") is False else found


def dumped(client: Client) -> Document:
    """What is set up, as a preseed document."""
    shown: Document = {"config": client.get("/1.0").get("config") or {}}
    for member, collection, members in KINDS:
        everywhere = {"all-projects": "true"} if member == "profiles" else {}
        listed = client.get(f"/1.0/{collection}", recursion=1, **everywhere) or []
        found = [each for each in listed if each.get("managed") is not False]
        shown[member] = [{name: each[name] for name in members if name in each} | _place(each) for each in found]
    for pool in shown["storage_pools"]:
        pool["config"] = {key: value for key, value in pool["config"].items() if not key.startswith("volatile.")}
    for network in shown["networks"]:
        network["config"] = {key: value for key, value in network["config"].items() if not key.startswith("volatile.")}
    return shown
