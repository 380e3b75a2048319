"""What the commands about volumes share: how one is named, and how it becomes a disk."""

from hutch import errors
from hutch.cli.command import Argument, Options, arg
from hutch.cli.devices import Owner
from hutch.client.connection import url

TYPES = ("custom", "container", "virtual-machine", "image")
POOL = arg("pool", metavar="POOL", help="the pool", complete="pool")
VOLUME = arg("volume", metavar="[TYPE/]VOLUME", help="the volume; the type is custom unless given")


def path(pool: str, volume: str) -> str:
    """The URL of [TYPE/]VOLUME[/SNAPSHOT]."""
    kind, slash, name = volume.partition("/")
    if not slash or kind not in TYPES:
        kind, name = "custom", volume
    name, _, snapshot = name.partition("/")
    return url("storage-pools", pool, "volumes", kind, name, *(["snapshots", snapshot] if snapshot else []))


def in_pool(text: str) -> tuple[str, str]:
    """POOL/VOLUME[/SNAPSHOT] as the pool and the rest."""
    pool, _, name = text.partition("/")
    if not pool or not name:
        raise errors.Invalid(f"{text!r} does not name a volume: POOL/VOLUME is expected")
    return pool, name


def place_arguments() -> tuple[Argument, Argument]:
    return (
        arg("device", nargs="?", default="", metavar="DEVICE", help="the device's name; the volume's unless given"),
        arg("path", nargs="?", default="", metavar="PATH", help="where the guest sees it"),
    )


def attach(owner: Owner, options: Options) -> None:
    device, place = (options.device, options.path) if options.path else (options.volume, options.device)
    if not place.startswith("/"):
        raise errors.Invalid("say where the guest sees the volume: an absolute PATH comes last")
    disk = {"type": "disk", "pool": options.pool, "source": options.volume, "path": place}

    def apply(devices: dict[str, dict[str, str]]) -> None:
        if device in devices:
            raise errors.AlreadyExists(f"{owner.what} {owner.name} has a device {device} already")
        devices[device] = disk

    owner.change(apply)


def detach(owner: Owner, options: Options) -> None:
    def apply(devices: dict[str, dict[str, str]]) -> None:
        wanted = {"type": "disk", "pool": options.pool, "source": options.volume}
        found = [name for name, device in devices.items() if wanted.items() <= device.items()]
        if options.device:
            found = [name for name in found if name == options.device]
        if not found:
            raise errors.NotFound(f"{owner.what} {owner.name} has no device for the volume {options.volume}")
        if len(found) > 1:
            raise errors.Conflict(f"{owner.name} has {options.volume} more than once; name one: {', '.join(found)}")
        del devices[found[0]]

    owner.change(apply)
