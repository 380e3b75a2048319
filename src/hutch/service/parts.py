"""What the verbs work with: complete and immutable once the daemon has built it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hutch.device.base import Device
from hutch.network.base import NetworkDriver
from hutch.runtime.base import Runtime
from hutch.runtime.console import Consoles
from hutch.storage.base import StorageDriver
from hutch.store.records import State
from hutch.work.events import Events, Requestor
from hutch.work.lifetime import Lifetime
from hutch.work.locks import Locks
from hutch.work.operations import Operations
from hutch.work.tasks import Tasks


@dataclass(frozen=True)
class Caller:
    """Who sent a request. Everybody who can open the Unix socket is trusted."""

    trusted: bool
    requestor: Requestor


@dataclass(frozen=True)
class Parts:
    """`pools` and `networks` hold the running drivers by name, `live` the devices of each running guest by
    (project, name), `rendered` instances as JSON with what they were made from, `boot` is the kernel's boot id,
    `certificate` and `fingerprint` are the server's own."""

    directory: Path
    state: State
    operations: Operations
    events: Events
    locks: Locks
    tasks: Tasks
    runtime: Runtime
    consoles: Consoles
    lifetime: Lifetime
    boot: str
    certificate: str = ""
    fingerprint: str = ""
    pools: dict[str, StorageDriver] = field(default_factory=dict)
    networks: dict[str, NetworkDriver] = field(default_factory=dict)
    live: dict[tuple[str, str], list[Device]] = field(default_factory=dict)
    rendered: dict[tuple[str, str], tuple[Any, bytes]] = field(default_factory=dict)

    @property
    def images(self) -> Path:
        """Where image files are: FINGERPRINT, and FINGERPRINT.rootfs for split ones."""
        return self.directory / "images"

    def instance_directory(self, project: str, name: str) -> Path:
        """An instance's own folder: runtime config, logs, console log, the root's mount point."""
        return self.directory / "instances" / project / name
