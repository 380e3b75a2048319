"""The devices of instances and profiles: what `config device` and `profile device` share."""

from collections.abc import Callable

from hutch import errors
from hutch.cli import settings
from hutch.cli.command import Argument, Command, Options, arg
from hutch.cli.session import Session, pairs
from hutch.client.connection import Document

Devices = dict[str, dict[str, str]]


class Owner:
    """An instance or a profile that has devices."""

    def __init__(self, session: Session, what: str, name: str, path: str, members: tuple[str, ...]) -> None:
        self.session, self.what, self.name, self.path, self.members = session, what, name, path, members

    def devices(self) -> Devices:
        return self.session.client.get(self.path).get("devices") or {}

    def names(self) -> None:
        for name in sorted(self.devices()):
            print(name)

    def show(self) -> None:
        settings.show(self.devices())

    def get(self, device: str, key: str) -> None:
        print(self._one(self.devices(), device).get(key, ""))

    def add(self, device: str, kind: str, words: list[str]) -> None:
        def apply(devices: Devices) -> None:
            if device in devices:
                raise errors.AlreadyExists(f"{self.what} {self.name} has a device {device} already")
            devices[device] = {"type": kind} | pairs(words)

        self.change(apply)
        self.session.say(f"Device {device} added to {self.name}")

    def set(self, device: str, words: list[str]) -> None:
        values = settings.assignments(words)
        self.change(lambda devices: self._one(devices, device).update(values))

    def unset(self, device: str, key: str) -> None:
        def apply(devices: Devices) -> None:
            if self._one(devices, device).pop(key, None) is None:
                raise errors.NotFound(f"{key} is not set on the device {device} of {self.name}")

        self.change(apply)

    def remove(self, names: list[str]) -> None:
        def apply(devices: Devices) -> None:
            for name in names:
                self._one(devices, name)
                del devices[name]

        self.change(apply)
        self.session.say(f"Device{'s' if len(names) > 1 else ''} {', '.join(names)} removed from {self.name}")

    def override(self, device: str, words: list[str]) -> None:
        """Give the instance a device of its own in place of its profiles' one."""
        inherited = self.session.client.get(self.path).get("expanded_devices") or {}

        def apply(devices: Devices) -> None:
            if device in devices:
                raise errors.AlreadyExists(f"{self.name} has a device {device} of its own already; change that one")
            if device not in inherited:
                raise errors.NotFound(f"no profile of {self.name} has a device {device}")
            devices[device] = dict(inherited[device]) | pairs(words)

        self.change(apply)
        self.session.say(f"Device {device} overridden for {self.name}")

    def change(self, apply: Callable[[Devices], None]) -> None:
        def change(document: Document) -> None:
            devices = {name: dict(device) for name, device in (document.get("devices") or {}).items()}
            apply(devices)
            document["devices"] = devices

        settings.change(self.session, self.path, self.members, change)

    def _one(self, devices: Devices, name: str) -> dict[str, str]:
        if name not in devices:
            hint = "; its profiles may have one: see `hutch config device override --help`" * (self.what == "instance")
            raise errors.NotFound(f"{self.what} {self.name} has no device {name} of its own{hint}")
        return devices[name]


DEVICE = arg("device", metavar="DEVICE", help="the device's name")
KEY = arg("key", metavar="KEY", help="the setting", complete="device-key")
VALUES = arg("values", nargs="+", metavar="KEY=VALUE", help="its settings", complete="device-key")
SOME_VALUES = arg("values", nargs="*", metavar="KEY=VALUE", help="its settings", complete="device-key")

Verb = tuple[str, str, tuple[Argument, ...], str, Callable[[Owner, Options], None]]

VERBS: tuple[Verb, ...] = (
    ("list", "List the devices.", (), "", lambda owner, _: owner.names()),
    ("show", "Show the devices with their settings.", (), "", lambda owner, _: owner.show()),
    ("get", "Show one setting of a device.", (DEVICE, KEY), "root pool", lambda owner, o: owner.get(o.device, o.key)),
    (
        "set",
        "Set settings of a device.",
        (DEVICE, VALUES),
        "root size=20GiB",
        lambda owner, o: owner.set(o.device, o.values),
    ),
    (
        "unset",
        "Remove a setting of a device.",
        (DEVICE, KEY),
        "root size",
        lambda owner, o: owner.unset(o.device, o.key),
    ),
    (
        "add",
        "Add a device.",
        (DEVICE, arg("type", metavar="TYPE", help="disk, nic, none"), SOME_VALUES),
        "data disk source=/srv/data path=/data",
        lambda owner, o: owner.add(o.device, o.type, o.values),
    ),
    (
        "remove",
        "Remove devices.",
        (arg("devices", nargs="+", metavar="DEVICE", help="the devices"),),
        "data",
        lambda owner, o: owner.remove(o.devices),
    ),
    (
        "override",
        "Give an instance its own copy of a device that its profiles have.",
        (DEVICE, SOME_VALUES),
        "root size=20GiB",
        lambda owner, o: owner.override(o.device, o.values),
    ),
)


def commands(
    words: str, owner: Argument, opened: Callable[[Session, str], Owner], leave_out: str = ""
) -> list[Command]:
    """The commands below `hutch WORDS`, for owners of one kind."""
    return [_command(words, owner, opened, verb) for verb in VERBS if verb[0] != leave_out]


def _command(words: str, owner: Argument, opened: Callable[[Session, str], Owner], verb: Verb) -> Command:
    name, purpose, arguments, sample, act = verb
    member = owner.flags[0]
    example = f"hutch {words} {name} {'c1' if member == 'instance' else 'default'} {sample}".rstrip()

    def run(session: Session, options: Options) -> None:
        act(opened(session, getattr(options, member)), options)

    return Command(run, name, purpose, (owner, *arguments), example)
