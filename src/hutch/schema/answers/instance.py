"""Instances, their snapshots and their state, as the API shows them."""

from datetime import datetime

from hutch.schema.answers.base import Address, Answer
from hutch.schema.base import Config, Devices


class Instance(Answer):
    """An instance. `expanded_*` is what its profiles and itself add up to; `status_code` is 102 for stopped, 103 for
    running, 110 for frozen."""

    architecture: str
    config: Config
    created_at: datetime
    description: str
    devices: Devices
    ephemeral: bool
    expanded_config: Config
    expanded_devices: Devices
    last_used_at: datetime
    location: str
    name: str
    profiles: list[str]
    project: str
    stateful: bool
    status: str
    status_code: int
    type: str


class InstanceSnapshot(Answer):
    """An instance as it was. `size` is in bytes, -1 where it is not known."""

    architecture: str
    config: Config
    created_at: datetime
    description: str
    devices: Devices
    ephemeral: bool
    expanded_config: Config
    expanded_devices: Devices
    expires_at: datetime
    last_used_at: datetime
    name: str
    profiles: list[str]
    size: int
    stateful: bool


class InstanceStateDisk(Answer):
    usage: int
    total: int


class InstanceStateMemory(Answer):
    usage: int
    usage_peak: int
    swap_usage: int
    swap_usage_peak: int


class InstanceStateCPU(Answer):
    """`usage` is in nanoseconds of all processors together."""

    usage: int


class InstanceStateNetworkCounters(Answer):
    bytes_received: int
    bytes_sent: int
    packets_received: int
    packets_sent: int
    errors_received: int
    errors_sent: int
    packets_dropped_inbound: int
    packets_dropped_outbound: int


class InstanceStateNetwork(Answer):
    addresses: list[Address]
    counters: InstanceStateNetworkCounters
    hwaddr: str
    host_name: str
    mtu: int
    state: str
    type: str


class InstanceState(Answer):
    """What an instance uses now; `pid` is its init's on the host, 0 when it does not run."""

    status: str
    status_code: int
    disk: dict[str, InstanceStateDisk] | None
    memory: InstanceStateMemory
    network: dict[str, InstanceStateNetwork] | None
    pid: int
    processes: int
    cpu: InstanceStateCPU


class InstanceBackup(Answer):
    name: str
    created_at: datetime
    expires_at: datetime
    instance_only: bool
    container_only: bool
    optimized_storage: bool


class InstanceFull(Instance):
    """An instance with what belongs to it (recursion=2)."""

    state: InstanceState | None
    snapshots: list[InstanceSnapshot] | None
    backups: list[InstanceBackup] | None


class ImageMetadataTemplate(Answer):
    """A file that is made in the guest from a template, at the events of `when`."""

    when: list[str]
    create_only: bool
    template: str
    properties: dict[str, str]


class ImageMetadata(Answer):
    """metadata.yaml as the image brought it; times are seconds since 1970."""

    architecture: str
    creation_date: int
    expiry_date: int
    properties: dict[str, str]
    templates: dict[str, ImageMetadataTemplate]
