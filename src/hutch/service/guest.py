"""What a guest may learn of itself, and tell: nothing of the host, nothing of another guest."""

from msgspec.structs import replace

from hutch.errors import Forbidden, Invalid, NotFound
from hutch.schema.base import Config, Devices
from hutch.schema.image import ImageRecord
from hutch.schema.instance import InstanceRecord
from hutch.schema.keys import instance as keys
from hutch.service import images
from hutch.service.instances import expand, render
from hutch.service.parts import Parts
from hutch.store.base import Changed

READY = "volatile.last_state.ready"
INSTANCE_ID = "volatile.cloud-init.instance-id"
_OWN = ("user.", "cloud-init.")
_OLDER = {f"cloud-init.{name}": f"user.{name}" for name in ("network-config", "user-data", "vendor-data")}
CLOUD_INIT_KEYS = (*_OLDER, *_OLDER.values(), "user.meta-data")
"""Keys that cloud-init acts upon: with another value the instance is a new one to it."""


def allowed(config: Config) -> bool:
    """Whether the guest has the API at all: LXD's key, and Incus's for the same."""
    return keys.flag(config, "security.devlxd") and keys.flag(config, "security.guestapi")


def own(parts: Parts, project: str, name: str) -> tuple[InstanceRecord, Config, Devices]:
    """The guest as it may see itself. Forbidden when it may not."""
    record = parts.state.instances.get(project, name)
    config, devices = expand.of(parts.state, record)
    if not allowed(config):
        raise Forbidden("not authorized")
    return record, config, devices


def document(record: InstanceRecord) -> dict[str, str]:
    return {
        "api_version": "1.0",
        "instance_type": record.type,
        "location": "none",
        "state": "Ready" if record.config.get(READY) == "true" else "Started",
    }


async def tell_state(parts: Parts, project: str, name: str, state: str) -> None:
    """The guest says how far it is: `Started`, or `Ready` to do what it is there for."""
    if state not in ("Started", "Ready"):
        raise Invalid(f"Invalid state {state!r}: Started or Ready is expected")
    ready = "true" if state == "Ready" else "false"
    while True:
        record = parts.state.instances.get(project, name)
        if record.config.get(READY, "false") == ready:
            return
        try:
            await parts.state.put(replace(record, config=record.config | {READY: ready}))
        except Changed:
            continue
        break
    if ready == "true":
        parts.events.lifecycle("instance-ready", render.url(project, name), project)


def config_keys(config: Config) -> list[str]:
    return [f"/1.0/config/{key}" for key in sorted(config) if key.startswith(_OWN)]


def value(config: Config, key: str) -> str:
    """A value that is the guest's own; of cloud-init's also by the name that LXD had for it first."""
    if not key.startswith(_OWN):
        raise Forbidden("not authorized")
    found = config.get(key) or config.get(_OLDER.get(key, ""))
    if not found:
        raise NotFound("not found")
    return found


def shown_devices(record: InstanceRecord, devices: Devices) -> Devices:
    """The devices as the guest has them; where on the host they come from is left out."""
    return {name: shown_device(record, name, settings) for name, settings in devices.items()}


def shown_device(record: InstanceRecord, name: str, settings: Config) -> Config:
    shown = {key: text for key, text in settings.items() if key != "parent"}
    if settings.get("type") == "disk" and not settings.get("pool"):
        shown.pop("source", None)
    if settings.get("type") == "nic" and (hwaddr := record.config.get(f"volatile.{name}.hwaddr")):
        shown.setdefault("hwaddr", hwaddr)
    return shown


def meta_data(record: InstanceRecord, config: Config) -> str:
    identity = record.config.get(INSTANCE_ID) or record.config.get("volatile.uuid", record.name)
    return (
        f"#cloud-config\ninstance-id: {identity}\nlocal-hostname: {record.name}\n{config.get('user.meta-data', '')}\n"
    )


def image(parts: Parts, project: str, config: Config, fingerprint: str) -> ImageRecord:
    """An image that a guest with security.devlxd.images may fetch: one that is public, or was public where it came from."""
    if not keys.flag(config, "security.devlxd.images") and not keys.flag(config, "security.guestapi.images"):
        raise Forbidden("not authorized")
    found = images.find(parts, project, fingerprint)
    if not found.public and not found.cached:
        raise NotFound("Image not found")
    return found


def tell_changes(
    parts: Parts, record: InstanceRecord, before: tuple[Config, Devices], after: tuple[Config, Devices]
) -> None:
    """Tell the running guest what has become different of it."""

    def send(kind: str, **metadata: object) -> None:
        parts.guest_events.send(record.project, record.name, kind, metadata)

    for key in sorted(before[0].keys() | after[0].keys()):
        old, new = before[0].get(key, ""), after[0].get(key, "")
        if key.startswith(_OWN) and old != new:
            send("config", key=key, old_value=old, value=new)
    for name in sorted(before[1].keys() | after[1].keys()):
        there, here = before[1].get(name), after[1].get(name)
        if there == here:
            continue
        action = "added" if there is None else "removed" if here is None else "updated"
        send("device", action=action, name=name, config=shown_device(record, name, here or there or {}))
