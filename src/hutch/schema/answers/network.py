"""Networks, as the API shows them."""

from typing import Any

from hutch.schema.answers.base import Address, Answer
from hutch.schema.base import Config


class Network(Answer):
    """A managed network, or an interface of the host."""

    name: str
    description: str
    type: str
    config: Config
    managed: bool
    status: str
    locations: list[str] | None
    used_by: list[str]
    project: str


class NetworkLease(Answer):
    """An address that a guest has; `type` is static, dynamic or gateway."""

    hostname: str
    hwaddr: str
    address: str
    type: str
    location: str


class Allocation(Answer):
    """An address that a network has given out; `type` is network, network-forward, instance or uplink."""

    address: str
    used_by: str
    type: str
    hwaddr: str
    nat: bool
    network: str


class NetworkCounters(Answer):
    bytes_received: int
    bytes_sent: int
    packets_received: int
    packets_sent: int


class NetworkState(Answer):
    """What the kernel says of an interface."""

    addresses: list[Address]
    counters: NetworkCounters
    hwaddr: str
    mtu: int
    state: str
    type: str
    bond: dict[str, Any] | None
    bridge: dict[str, Any] | None
    vlan: dict[str, Any] | None
    ovn: dict[str, Any] | None
