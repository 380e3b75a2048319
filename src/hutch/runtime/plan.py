"""What devices, storage and limits ask of a runtime: plain data, filled in on the way down."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hutch.kernel.idmap import IdMap


@dataclass(frozen=True)
class Mount:
    """A mount made by the runtime inside the instance; `target` is relative to its root.

    `source` is a path of the daemon's mount namespace or a pseudo filesystem's name; `options` are mount(8) words,
    with liblxc's create=file, create=dir and optional.
    """

    source: str
    target: str
    fstype: str = "none"
    options: str = "bind,create=dir"


@dataclass(frozen=True)
class Link:
    """A network interface of the daemon's namespace that moves into the instance as `name`.

    `host_name` is what it is called out here, `device` the instance's device that it belongs to; `addresses` (with their
    prefix) and `gateways` are given to it inside.
    """

    device: str
    host_name: str
    name: str
    hwaddr: str = ""
    mtu: int = 0
    addresses: Sequence[str] = ()
    gateways: Sequence[str] = ()


@dataclass(frozen=True)
class DeviceRule:
    """A device-cgroup rule: `c 1:3 rwm`, allowed or denied."""

    rule: str
    allow: bool = True


@dataclass(frozen=True)
class Syscalls:
    """Which system calls the guest may make: what `default` and `deny` leave, or only what is in `allow`.
    Lines are those of liblxc's profiles; `raw` is a whole profile in place of the rest."""

    default: bool = True
    deny: Sequence[str] = ()
    allow: Sequence[str] = ()
    raw: str = ""


@dataclass
class LaunchPlan:
    """Everything a runtime needs to boot an instance, and nothing it has to ask for.

    `rootfs` is the mounted root (ids already shifted), `directory` the instance's own folder for config and logs,
    `console` the path of the console's pty slave, `limits` cgroup settings by controller file (`memory.max`, v2 words),
    `raw` lines for the runtime's config file, `images` the folder of a saved state that is brought back instead of a boot,
    `held` that nothing reaches its links before their devices are told to `admit` it.
    """

    project: str
    name: str
    directory: Path
    rootfs: Path
    hostname: str = ""
    architecture: str = "x86_64"
    privileged: bool = False
    nesting: bool = False
    idmap: list[IdMap] = field(default_factory=list)
    console: Path | None = None
    init: list[str] = field(default_factory=lambda: ["/sbin/init"])
    environment: dict[str, str] = field(default_factory=dict)
    mounts: list[Mount] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    device_rules: list[DeviceRule] = field(default_factory=list)
    limits: dict[str, str] = field(default_factory=dict)
    rlimits: dict[str, str] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    syscalls: Syscalls = Syscalls()
    raw: str = ""
    images: Path | None = None
    held: bool = False
