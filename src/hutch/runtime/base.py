"""What a runtime does with a plan."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hutch.kernel.statistics import Statistics
from hutch.runtime.enter import Errand, Session
from hutch.runtime.plan import LaunchPlan


@dataclass(frozen=True)
class Running:
    """A guest that runs: its init and its monitor by pid (of the daemon's pid namespace), and whether it is frozen.

    `started` is the init's start time in clock ticks after boot; with the pid it names one process for ever.
    """

    init: int
    monitor: int
    started: int
    frozen: bool = False


@dataclass(frozen=True)
class Usage:
    """What a guest uses now: bytes, nanoseconds of CPU, processes."""

    memory: int = 0
    memory_peak: int = 0
    swap: int = 0
    swap_peak: int = 0
    cpu: int = 0
    processes: int = 0


Ended = Callable[[str, str, str], None]
"""Called from the event loop with project, name and the target (`stop` or `reboot`) when a guest has ended."""


class Runtime(ABC):
    """Guests by project and name. State is kept in memory and by pidfd: `running` costs nothing and does not block."""

    @abstractmethod
    async def start(self, plan: LaunchPlan) -> Running:
        """Boot the guest, or bring it back from `plan.images`, and return when its init runs.

        Raises ToolFailed with the log's reason; leaves nothing behind then.
        """

    @abstractmethod
    async def adopt(self, project: str, name: str, directory: Path) -> Running | str | None:
        """Find again, after the daemon restarted, a guest that was started from `directory`.

        The target (`stop` or `reboot`) when it ended while no daemon watched, None when it went down with the host.
        """

    @abstractmethod
    def running(self, project: str, name: str) -> Running | None: ...

    @abstractmethod
    async def shutdown(self, project: str, name: str) -> None:
        """Ask the guest's init to power off; returns at once."""

    @abstractmethod
    async def reboot(self, project: str, name: str) -> None:
        """Ask the guest's init to reboot; returns at once."""

    @abstractmethod
    async def kill(self, project: str, name: str) -> None:
        """End the guest by force; returns when it and its monitor are gone."""

    @abstractmethod
    async def wait(self, project: str, name: str, timeout: float | None) -> bool:
        """Wait until the guest and its monitor are gone; false when `timeout` seconds were not enough."""

    @abstractmethod
    def obstacles(self, project: str, name: str) -> list[str]:
        """What keeps the running guest's state from being saved, as sentences; call it in a thread."""

    @abstractmethod
    async def save(self, project: str, name: str, images: Path) -> None:
        """Write memory and processes to the empty folder `images` and end the guest; returns when it is gone.

        Raises ToolFailed with the reason; the guest goes on then.
        """

    @abstractmethod
    def saved(self, images: Path) -> bool:
        """Whether the folder holds a complete state. Blocks."""

    @abstractmethod
    def void(self, images: Path) -> None:
        """Make the state in the folder count as incomplete. Blocks."""

    @abstractmethod
    async def freeze(self, project: str, name: str) -> None: ...

    @abstractmethod
    async def unfreeze(self, project: str, name: str) -> None: ...

    @abstractmethod
    def usage(self, project: str, name: str) -> Usage:
        """Read from the cgroup's files; call it in a thread."""

    @abstractmethod
    def statistics(self, project: str, name: str) -> Statistics:
        """All that is counted of a guest; call it in a thread. Raises NotFound when it does not run."""

    @abstractmethod
    async def set_limits(self, project: str, name: str, limits: Mapping[str, str]) -> None:
        """Apply cgroup settings (v2 words, as in LaunchPlan.limits) to a running guest."""

    @abstractmethod
    async def execute(
        self,
        project: str,
        name: str,
        errand: Errand,
        *,
        stdio: Sequence[int] | None = None,
        size: tuple[int, int] = (0, 0),
    ) -> Session:
        """Run a command inside the guest, in a session of its own.

        It gets the three descriptors `stdio` (the caller closes its own), or without them a native pty of the guest's devpts of
        `size` (columns, rows) whose master the session has. A command that is not found ends with 127, one that cannot be run
        with 126.
        """

    @abstractmethod
    async def close(self) -> None:
        """Stop watching at the daemon's end; every guest goes on, and what only guests need is removed when none runs."""
