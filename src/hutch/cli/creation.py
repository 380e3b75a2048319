"""What `launch` and `init` share: the new instance that the arguments describe."""

import re
from typing import Any

from hutch import errors
from hutch.cli import imagesources
from hutch.cli.command import Argument, Options, arg
from hutch.cli.session import Session, pairs, redirected_yaml
from hutch.client.connection import Document, Reply, url

Devices = dict[str, dict[str, str]]


def arguments() -> tuple[Argument, ...]:
    return (
        arg(
            "image",
            nargs="?",
            metavar="IMAGE",
            help="alias or fingerprint of the image",
            complete="image",
            elsewhere=True,
        ),
        arg("name", nargs="?", metavar="NAME", help="the new instance's name; without one it is made up"),
        *overrides(),
        arg("-n", "--network", metavar="NETWORK", help="connect eth0 to this network", complete="network"),
        arg("-s", "--storage", metavar="POOL", help="put the root disk on this pool", complete="pool"),
        arg("-t", "--type", metavar="SIZE", help="limits by name, as c2-m4 or aws:t3.micro"),
        arg("--empty", action="store_true", help="without an image; the only argument is the name"),
    )


def overrides() -> tuple[Argument, ...]:
    """What may differ from the image, or from the instance that is copied."""
    return (
        arg(
            "-c",
            "--config",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="a configuration key",
            complete="key",
        ),
        arg("-d", "--device", action="append", default=[], metavar="DEVICE,KEY=VALUE", help="a key of a device"),
        arg("-p", "--profile", action="append", metavar="PROFILE", help="a profile to apply", complete="profile"),
        arg("--no-profiles", action="store_true", help="apply no profile"),
        arg("-e", "--ephemeral", action="store_true", help="delete it when it stops"),
    )


def create(session: Session, options: Options) -> str:
    """Create the instance and wait for it; its name."""
    image, name = _names(options)
    given = redirected_yaml()
    wanted = request_document(session, options, given)
    if name:
        wanted["name"] = name
    session.say(f"Creating {name}" if name else "Creating the instance")
    reply = _posted(session, wanted, image)
    session.finish(reply, f"Creating {name}".rstrip())
    made = name or _name_of(reply)
    if not name:
        session.say(f"Instance name is: {made}")
    return made


def _names(options: Options) -> tuple[str | None, str]:
    if options.empty:
        if options.name:
            raise errors.Invalid("--empty takes only the name of the new instance, no image")
        return None, str(options.image or "")
    if not options.image:
        raise errors.Invalid("name an image, or give --empty; `hutch image list` shows the images")
    return str(options.image), str(options.name or "")


def _posted(session: Session, wanted: Document, image: str | None) -> Reply:
    if image is None:
        return session.client.request("POST", "/1.0/instances", wanted | {"source": {"type": "none"}})
    if (source := imagesources.elsewhere(session, image)) is not None:
        return session.client.request("POST", "/1.0/instances", wanted | {"source": source})
    try:
        return session.client.request("POST", "/1.0/instances", wanted | {"source": {"type": "image", "alias": image}})
    except errors.NotFound:
        # A word of hexadecimal digits that is no alias may be the beginning of a fingerprint.
        if not re.fullmatch("[0-9a-f]{3,64}", image):
            raise
        return session.client.request(
            "POST", "/1.0/instances", wanted | {"source": {"type": "image", "fingerprint": image}}
        )


def _name_of(reply: Reply) -> str:
    resources = (reply.metadata or {}).get("resources") or {}
    found = resources.get("instances") or resources.get("containers") or [""]
    return str(found[0]).partition("?")[0].rpartition("/")[2]


def request_document(session: Session, options: Options, given: Document) -> Document:
    """The body of the request, from a document given as YAML and the flags over it."""
    wanted: dict[str, Any] = {
        key: given[key] for key in ("description", "config", "devices", "profiles") if key in given
    }
    if options.no_profiles:
        wanted["profiles"] = []
    elif options.profile:
        wanted["profiles"] = options.profile
    wanted["config"] = dict(wanted.get("config") or {}) | pairs(options.config)
    if options.ephemeral or given.get("ephemeral"):
        wanted["ephemeral"] = True
    if options.type:
        wanted["instance_type"] = options.type
    devices: Devices = dict(wanted.get("devices") or {})
    if options.storage:
        devices["root"] = {"type": "disk", "path": "/", "pool": options.storage}
    if options.network:
        devices["eth0"] = nic(session, options.network, "eth0")
    wanted["devices"] = merged(devices, options.device, lambda: _profile_devices(session, wanted.get("profiles")))
    return wanted


def merged(devices: Devices, words: list[str], inherited: Any) -> Devices:
    """The devices with the `DEVICE,KEY=VALUE` words applied; what a profile says of such a device is kept."""
    devices = {name: dict(device) for name, device in devices.items()}
    from_profiles: Devices | None = None
    for word in words:
        name, comma, rest = word.partition(",")
        if not comma or not name:
            raise errors.Invalid(f"{word!r} is not of the form DEVICE,KEY=VALUE")
        values = pairs(rest.split(","), "DEVICE,KEY=VALUE")
        if name not in devices and from_profiles is None:
            from_profiles = inherited()
        if name not in devices:
            devices[name] = dict((from_profiles or {}).get(name) or {})
        devices[name] |= values
    for name, device in devices.items():
        if not device.get("type"):
            raise errors.Invalid(f"the device {name!r} has no type and no profile has it; give {name},type=TYPE")
    return devices


def _profile_devices(session: Session, profiles: list[str] | None) -> Devices:
    found: Devices = {}
    for profile in ["default"] if profiles is None else profiles:
        found |= session.client.get(url("profiles", profile)).get("devices") or {}
    return found


def nic(session: Session, network: str, name: str) -> dict[str, str]:
    """The device that connects an instance to a network: managed ones by name, others by their bridge."""
    found = session.client.get(url("networks", network))
    if found.get("managed"):
        return {"type": "nic", "name": name, "network": network}
    nictype = "bridged" if found.get("type") == "bridge" else "macvlan"
    return {"type": "nic", "name": name, "nictype": nictype, "parent": network}


def warn_of_no_network(session: Session, name: str) -> None:
    if session.quiet:
        return
    devices = session.client.get(url("instances", name)).get("expanded_devices") or {}
    if not any(device.get("type") == "nic" for device in devices.values()):
        session.warn(f"{name} has no network; attach one with `hutch network attach NETWORK {name}`")
