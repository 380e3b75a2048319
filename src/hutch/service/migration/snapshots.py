"""Snapshots' records as the migration protocol carries them."""

from datetime import UTC, datetime, timedelta

from hutch.access.projects import Kind, home
from hutch.schema.base import ZERO_TIME, Config, Devices
from hutch.schema.instance import InstanceRecord, SnapshotRecord
from hutch.schema.migration import DeviceMessage, Setting, SnapshotMessage
from hutch.service.instances import expand, volume
from hutch.service.parts import Parts

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ARCHITECTURES = {
    "i686": 1,
    "x86_64": 2,
    "armv7l": 3,
    "aarch64": 4,
    "ppc": 5,
    "ppc64": 6,
    "ppc64le": 7,
    "s390x": 8,
    "mips": 9,
    "mips64": 10,
    "riscv32": 11,
    "riscv64": 12,
    "armv6l": 13,
    "armv8l": 14,
    "loongarch64": 15,
}
"""LXD's numbers of them."""


def message(record: SnapshotRecord) -> SnapshotMessage:
    return SnapshotMessage(
        name=record.name,
        config=settings(record.config),
        profiles=record.profiles,
        ephemeral=record.ephemeral,
        devices=[DeviceMessage(name=name, config=settings(device)) for name, device in record.devices.items()],
        architecture=_ARCHITECTURES.get(record.architecture, 0),
        stateful=False,
        created=seconds(record.created_at),
        last_used=seconds(record.last_used_at),
        expires=seconds(record.expires_at),
        created_us=microseconds(record.created_at),
    )


def settings(config: Config) -> list[Setting]:
    return [Setting(key=key, value=value) for key, value in config.items()]


def seconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(seconds=1)


def microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(seconds: int | None, microseconds: int | None = None) -> datetime:
    """A time that Go never set, or that is none, is ZERO_TIME."""
    try:
        if microseconds is not None:
            return _EPOCH + timedelta(microseconds=microseconds)
        return max(_EPOCH + timedelta(seconds=seconds), ZERO_TIME) if seconds else ZERO_TIME
    except OverflowError:
        return ZERO_TIME


def same_moment(sent: SnapshotMessage, record: SnapshotRecord) -> bool:
    """Whether the snapshot here is the one that is offered, not another of that name."""
    return sent.created == seconds(record.created_at)


def record(parts: Parts, sent: SnapshotMessage, instance: InstanceRecord, pool: str) -> SnapshotRecord:
    """The snapshot as it is recorded here: without profiles that this server lacks, on the instance's pool."""
    devices: Devices = {each.name: _config(each.config) for each in sent.devices}
    config = _config(sent.config)
    place = home(parts.state, instance.project, Kind.PROFILES)
    profiles = [name for name in sent.profiles if parts.state.profiles.find(place, name)]
    whole_config, whole_devices = expand.expanded(parts.state, instance.project, profiles, config, devices)
    known = {number: name for name, number in _ARCHITECTURES.items()}
    return SnapshotRecord(
        name=sent.name,
        instance=instance.name,
        project=instance.project,
        architecture=known.get(sent.architecture, instance.architecture),
        ephemeral=sent.ephemeral,
        profiles=profiles,
        config=config,
        devices=volume.on_pool(devices, whole_devices, pool),
        expanded_config=whole_config,
        expanded_devices=volume.on_pool(whole_devices, whole_devices, pool),
        created_at=moment(sent.created, sent.created_us),
        last_used_at=moment(sent.last_used),
        expires_at=moment(sent.expires),
    )


def _config(settings: list[Setting]) -> Config:
    return {each.key: each.value for each in settings}
