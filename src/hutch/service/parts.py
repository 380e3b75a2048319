"""What the verbs work with: complete and immutable once the daemon has built it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hutch.device.base import Device
from hutch.kernel.inotify import PathWatch
from hutch.network.base import NetworkDriver
from hutch.runtime.base import Runtime
from hutch.runtime.console import Consoles
from hutch.runtime.proxies import Proxies
from hutch.schema.move import MoveReport
from hutch.storage.base import StorageDriver
from hutch.store.records import State
from hutch.work.events import Events
from hutch.work.guest_events import GuestEvents
from hutch.work.lifetime import Lifetime
from hutch.work.locks import Locks
from hutch.work.operations import Operations
from hutch.work.samples import Measured
from hutch.work.stalls import Selector
from hutch.work.tasks import Tasks

Listen = Callable[[str, str], Awaitable[None]]
"""Serve what a setting (`core.https_address`) is for on an address (`[::]:8443`, empty: not at all) instead of where it was.

Invalid when the address cannot be had."""


class GuestDoors(Protocol):
    """The sockets by which guests reach their own API, one a guest."""

    async def open(self, project: str, name: str) -> Path:
        """Listen in a folder of the instance's; the folder, which is to be bound into the guest. Nothing changes if it is open."""

    async def close(self, project: str, name: str) -> None:
        """Let go who is connected and remove the socket; the folder stays. Nothing happens when it is closed."""


@dataclass(frozen=True)
class Parts:
    """`pools` and `networks` hold the running drivers by name, `live` the devices of each running guest by
    (project, name), `cpus` what those have as limits.cpu and `pinned` the set that each was given, `rendered`
    instances as JSON with what they were made from, `boot` is the kernel's boot id,
    `certificate` (PEM) and `fingerprint` are the server's own, `stalls` measures the
    event loop, `failures` counts wrong tokens by address."""

    directory: Path
    state: State
    operations: Operations
    events: Events
    locks: Locks
    tasks: Tasks
    runtime: Runtime
    consoles: Consoles
    proxies: Proxies
    paths: PathWatch
    lifetime: Lifetime
    stalls: Selector
    boot: str
    certificate: str
    fingerprint: str
    listen: Listen
    doors: GuestDoors
    guest_events: GuestEvents = field(default_factory=GuestEvents)
    pools: dict[str, StorageDriver] = field(default_factory=dict)
    networks: dict[str, NetworkDriver] = field(default_factory=dict)
    live: dict[tuple[str, str], list[Device]] = field(default_factory=dict)
    cpus: dict[tuple[str, str], str] = field(default_factory=dict)
    pinned: dict[tuple[str, str], str] = field(default_factory=dict)
    measured: Measured = field(default_factory=Measured)
    failures: dict[str, int] = field(default_factory=dict)
    reports: dict[str, "asyncio.Future[MoveReport]"] = field(default_factory=dict)
    rendered: dict[tuple[str, str], tuple[Any, bytes]] = field(default_factory=dict)

    @property
    def images(self) -> Path:
        """Where image files are: FINGERPRINT, and FINGERPRINT.rootfs for split ones."""
        return self.directory / "images"

    def guest_folder(self, project: str, name: str) -> Path:
        """What is /dev/lxd in the guest."""
        return self.instance_directory(project, name) / "guestapi"

    @property
    def backups(self) -> Path:
        """Where the files of backups are."""
        return self.directory / "backups"

    def instance_directory(self, project: str, name: str) -> Path:
        """An instance's own folder: runtime config, logs, console log, the root's mount point."""
        return self.directory / "instances" / project / name


def instance_lock(project: str, name: str) -> str:
    """What an instance's lock is called."""
    return f"instance/{project}/{name}"
