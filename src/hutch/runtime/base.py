"""What a runtime does with a plan."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
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


class Held(ABC):
    """A guest that waits for a word: saved and still there, or brought back, and in either case not running.

    `times` are the seconds that a saved guest has already stood still, by what for.
    """

    times: Mapping[str, float] = {}

    @abstractmethod
    async def lost(self) -> str:
        """Return, with the reason, when it is held no longer though nobody has said a word."""

    @abstractmethod
    async def stand(self) -> None:
        """Write down durably that it does not give up when the daemon ends: a saved guest ends then, a restored one waits on."""

    @abstractmethod
    async def commit(self) -> None:
        """End the saved guest, and return when none of its processes is left; or let the restored one run.

        Raises ToolFailed when it cannot run; nothing of it is left then.
        """

    @abstractmethod
    async def settle(self) -> None:
        """After `commit`: return when what the saved guest had is given back, or the restored one is known as running."""

    @abstractmethod
    async def abort(self) -> None:
        """Let the saved guest go on, or remove the restored one.

        A saved guest whose holder was killed has ended after this: it can go on from its images, which are complete.
        """


@dataclass(frozen=True)
class Obstacle:
    """What keeps a guest's state from being saved: the process by its name and pid on the host, if it is one's.

    `sandboxed`: it comes of how the guest's init system confines its services.
    """

    reason: str
    process: str = ""
    pid: int = 0
    sandboxed: bool = False

    def __str__(self) -> str:
        return f"{self.process} (process {self.pid} of the host) {self.reason}" if self.pid else self.reason


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
    def obstacles(self, project: str, name: str) -> list[Obstacle]:
        """What keeps the running guest's state from being saved; call it in a thread. Unsupported where nothing can save it."""

    @abstractmethod
    async def save(self, project: str, name: str, images: Path) -> None:
        """Write memory and processes to the empty folder `images` and end the guest; returns when it is gone.

        Raises ToolFailed with the reason; the guest goes on then.
        """

    @abstractmethod
    async def state_version(self) -> str:
        """The version of what saves states: another may not understand them. Raises Unsupported where there is none."""

    @property
    @abstractmethod
    def offers_lxcfs(self) -> bool:
        """Whether guests get the files of lxcfs here."""

    @abstractmethod
    async def hold(self, project: str, name: str, images: Path) -> Held:
        """Write memory and processes to the empty folder `images` and keep the guest as it is until a word comes.

        Raises ToolFailed with the reason; the guest goes on then.
        """

    @abstractmethod
    async def start_held(self, plan: LaunchPlan) -> Held:
        """Bring the guest back from `plan.images`, complete but for running. Raises ToolFailed; leaves nothing behind then."""

    @abstractmethod
    async def held_start(self, project: str, name: str, directory: Path) -> Held:
        """What an earlier daemon's `start_held` left in `directory`, whatever became of it."""

    @abstractmethod
    async def forget_hold(self, directory: Path) -> None:
        """Drop what `hold` or `start_held` wrote down in `directory`, once what became of the guest is recorded elsewhere."""

    @abstractmethod
    async def settle_hold(self, project: str, name: str, directory: Path) -> bool:
        """See what an earlier daemon's `hold` of the guest left through to its end: whether it stood by then that the guest ends."""

    @abstractmethod
    def saved(self, images: Path) -> bool:
        """Whether the folder holds a complete state. Blocks."""

    @abstractmethod
    async def standstill(self, project: str, name: str, during: Awaitable[None]) -> float:
        """For how many seconds the running guest stood still at a stretch while `during` was done."""

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
