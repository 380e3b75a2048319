"""Who uses a custom volume."""

from collections.abc import Iterator
from dataclasses import dataclass

from hutch.access.projects import Kind, tenants
from hutch.schema.base import Config, Devices
from hutch.schema.instance import InstanceRecord
from hutch.schema.profile import ProfileRecord
from hutch.schema.storage import VolumeRecord
from hutch.service import profiles
from hutch.service.instances import expand, render
from hutch.service.parts import Parts


@dataclass(frozen=True)
class Users:
    """The instances whose expanded devices have the volume, and the profiles whose own have it."""

    instances: list[InstanceRecord]
    profiles: list[ProfileRecord]

    @property
    def urls(self) -> list[str]:
        return [render.url(each.project, each.name) for each in self.instances] + [
            profiles.url(each.project, each.name) for each in self.profiles
        ]


def of(parts: Parts, record: VolumeRecord) -> Users:
    inside = set(tenants(parts.state, record.project, Kind.VOLUMES))
    return Users(
        [
            each
            for each in parts.state.instances.all()
            if each.project in inside and any(_named(record, expand.of(parts.state, each)[1]))
        ],
        [each for each in parts.state.profiles.all() if each.project in inside and any(_named(record, each.devices))],
    )


def running(parts: Parts, record: VolumeRecord) -> list[InstanceRecord]:
    """The running instances that have the volume."""
    return [each for each in of(parts, record).instances if parts.runtime.running(each.project, each.name) is not None]


def _named(record: VolumeRecord, devices: Devices) -> Iterator[str]:
    """The names of the devices that are the volume."""
    return (name for name, device in devices.items() if is_use(record, device))


def is_use(record: VolumeRecord, device: Config) -> bool:
    return device.get("type") == "disk" and device.get("pool") == record.pool and device.get("source") == record.name


def pointed(record: VolumeRecord, moved: VolumeRecord, devices: Devices) -> Devices:
    """The devices with `moved` where `record` was."""
    new = {"pool": moved.pool, "source": moved.name}
    return {name: device | new if is_use(record, device) else device for name, device in devices.items()}
