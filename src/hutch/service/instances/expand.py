"""An instance's config and devices with those of its profiles below them."""

from collections.abc import Iterable, Sequence

from hutch.access.projects import Kind, home
from hutch.errors import Invalid
from hutch.schema.base import Config, Devices
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.profile import ProfileRecord
from hutch.store.records import State


def expanded(
    state: State, project: str, profiles: Sequence[str], config: Config, devices: Devices
) -> tuple[Config, Devices]:
    """Profiles in their order, later ones over earlier ones, the instance's own on top."""
    place = home(state, project, Kind.PROFILES)
    found = []
    for name in profiles:
        profile = state.profiles.find(place, name)
        if profile is None:
            raise Invalid(f"Requested profile {name!r} doesn't exist")
        found.append(profile)
    return over(found, config, devices)


def over(profiles: Iterable[ProfileRecord], config: Config, devices: Devices) -> tuple[Config, Devices]:
    """The config and devices on top of those of the profiles."""
    whole_config: Config = {}
    whole_devices: Devices = {}
    for profile in profiles:
        whole_config |= profile.config
        whole_devices |= profile.devices
    return whole_config | config, whole_devices | devices


def of(state: State, record: InstanceRecord | SnapshotRecord) -> tuple[Config, Devices]:
    return expanded(state, record.project, record.profiles, record.config, record.devices)


def root_disk(devices: Devices) -> tuple[str, Config] | None:
    """The device that is the root filesystem: a disk with path / and no source."""
    for name, device in devices.items():
        if device.get("type") == "disk" and device.get("path") == "/" and not device.get("source"):
            return name, device
    return None


def volatile_of(config: Config, device: str) -> Config:
    """What volatile.DEVICE.* records, without that prefix."""
    prefix = f"volatile.{device}."
    return {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}
