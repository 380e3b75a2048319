"""What the host is made of, as the API shows it (LXD's document)."""

from typing import Any

import msgspec

from hutch.schema.answers.base import Answer


class ResourcesCPUThread(Answer):
    id: int
    numa_node: int
    thread: int
    online: bool
    isolated: bool


class ResourcesCPUCore(Answer):
    core: int
    die: int
    threads: list[ResourcesCPUThread]
    frequency: int


class ResourcesCPUCache(Answer):
    """`size` is in bytes."""

    level: int
    type: str
    size: int


class ResourcesCPUSocket(Answer):
    """Frequencies are in MHz."""

    name: str
    vendor: str
    socket: int
    cache: list[ResourcesCPUCache]
    cores: list[ResourcesCPUCore]
    frequency: int
    frequency_minimum: int
    frequency_turbo: int


class ResourcesCPU(Answer):
    architecture: str
    sockets: list[ResourcesCPUSocket]
    total: int


class ResourcesMemoryNode(Answer):
    numa_node: int
    hugepages_used: int
    hugepages_total: int
    used: int
    total: int


class ResourcesMemory(Answer):
    nodes: list[ResourcesMemoryNode]
    hugepages_total: int
    hugepages_used: int
    hugepages_size: int
    used: int
    total: int


class ResourcesDevice(Answer):
    """What every device on PCI tells of itself."""

    driver: str
    driver_version: str
    numa_node: int
    vendor: str
    vendor_id: str
    product: str
    product_id: str
    pci_address: str


class ResourcesCard(ResourcesDevice):
    """`usb_address` is BUS:DEVICE; `sriov` the virtual functions of a card that can have some."""

    usb_address: str
    sriov: dict[str, Any] | None


class ResourcesGPUCard(ResourcesCard):
    drm: dict[str, Any]
    nvidia: dict[str, Any] | None


class ResourcesGPU(Answer):
    cards: list[ResourcesGPUCard]
    total: int


class ResourcesNetworkPort(Answer):
    """`link_speed` is in Mbit/s."""

    id: str
    address: str
    port: int
    protocol: str
    supported_modes: list[str]
    supported_ports: list[str]
    port_type: str
    transceiver_type: str
    auto_negotiation: bool
    link_detected: bool
    link_speed: int
    link_duplex: str
    infiniband: dict[str, Any] | None


class ResourcesNetworkCard(ResourcesCard):
    ports: list[ResourcesNetworkPort]
    firmware_version: str


class ResourcesNetwork(Answer):
    cards: list[ResourcesNetworkCard]
    total: int


class ResourcesStorageDiskPartition(Answer):
    id: str
    device: str
    read_only: bool
    size: int
    partition: int


class ResourcesStorageDisk(Answer):
    """Sizes are in bytes; `rpm` is 0 for what does not turn."""

    id: str
    device: str
    model: str
    type: str
    read_only: bool
    size: int
    removable: bool
    wwn: str
    numa_node: int
    device_path: str
    device_id: str
    block_size: int
    firmware_version: str
    rpm: int
    serial: str
    partitions: list[ResourcesStorageDiskPartition]
    pci_address: str
    usb_address: str


class ResourcesStorage(Answer):
    disks: list[ResourcesStorageDisk]
    total: int


class ResourcesUSBDeviceInterface(Answer):
    class_name: str = msgspec.field(name="class")
    class_id: int
    subclass: str
    subclass_id: int
    driver: str
    driver_version: str
    number: int


class ResourcesUSBDevice(Answer):
    bus_address: int
    device_address: int
    interfaces: list[ResourcesUSBDeviceInterface]
    vendor: str
    vendor_id: str
    product: str
    product_id: str
    speed: float


class ResourcesUSB(Answer):
    devices: list[ResourcesUSBDevice]
    total: int


class ResourcesPCIDevice(ResourcesDevice):
    iommu_group: int
    vpd: dict[str, Any]


class ResourcesPCI(Answer):
    devices: list[ResourcesPCIDevice]
    total: int


class ResourcesSystem(Answer):
    """`type` is physical, virtual-machine or container."""

    uuid: str
    vendor: str
    product: str
    family: str
    version: str
    sku: str
    serial: str
    type: str
    firmware: dict[str, str]
    chassis: dict[str, str]
    motherboard: dict[str, str]


class Resources(Answer):
    cpu: ResourcesCPU
    memory: ResourcesMemory
    gpu: ResourcesGPU
    network: ResourcesNetwork
    storage: ResourcesStorage
    usb: ResourcesUSB
    pci: ResourcesPCI
    system: ResourcesSystem
