"""Control groups, of version 2, version 1 or both mounted side by side, behind the words of version 2.

A group is named by one path relative to every hierarchy's mount (`hutch-1a2b3c4d/default_c1`). A controller lives in exactly
one hierarchy; core files (`cgroup.freeze`, `cgroup.procs`) belong to the version 2 one where it is mounted.
"""

import contextlib
import errno
import functools
import os
import re
import select
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hutch.errors import Invalid, Unavailable, Unsupported

FREEZE_DEADLINE = 10.0
_REMOVE_GRACE = 0.5
_V1_SHARES, _V2_WEIGHT = 1024, 100
_NO_LIMIT = 1 << 60
_ONLY_1 = {"memory.swappiness"}
_THROTTLE = {"rbps": "read_bps", "wbps": "write_bps", "riops": "read_iops", "wiops": "write_iops"}


@dataclass(frozen=True)
class Layout:
    """Where this process sees the hierarchies: `unified` is version 2's mount, `legacy` version 1's by controller."""

    unified: Path | None
    legacy: Mapping[str, Path]

    @property
    def pure(self) -> bool:
        """Only version 2 is there."""
        return self.unified is not None and not self.legacy

    def roots(self) -> list[Path]:
        """Every hierarchy's mount, each once."""
        found = [*self.legacy.values(), *([self.unified] if self.unified else [])]
        return list(dict.fromkeys(found))

    def root(self, file: str) -> Path:
        """The hierarchy in which a controller's file lives. Raises Unsupported when this host has no such controller."""
        controller = file.partition(".")[0]
        if controller in self.legacy:
            return self.legacy[controller]
        if self.unified is None or (controller != "cgroup" and controller not in _controllers(self.unified)):
            raise Unsupported(f"this host has no {controller} cgroup controller, which {file} needs")
        return self.unified


def layout(mountinfo: str | None = None, first: str | None = None) -> Layout:
    """The layout that the mounts of this process show (proc(5), mountinfo). Raises Unsupported when there is none.

    `first` are the groups of the first process (/proc/1/cgroup), below which liblxc makes those of guests.
    """
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    bases = _bases(Path("/proc/1/cgroup").read_text() if first is None else first)
    unified: Path | None = None
    legacy: dict[str, Path] = {}
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ")[:3]
        shown, point = fields.split(" ")[3].strip("/"), Path(fields.split(" ")[4].replace("\\040", " "))

        def base(controller: str, shown: str = shown) -> str:
            return bases.get(controller, "").removeprefix(shown).strip("/")

        if kind == "cgroup2":
            unified = unified or point / base("")
        elif kind == "cgroup":
            for word in options.split(","):
                if word not in ("rw", "ro", "xattr", "noprefix", "clone_children") and not word.startswith("release_"):
                    legacy.setdefault(word, point / base(word))
    if unified is None and not legacy:
        raise Unsupported("no control groups are mounted in this mount namespace (/sys/fs/cgroup)")
    return Layout(unified, legacy)


def _bases(groups: str) -> dict[str, str]:
    """The path of a process's group by controller, "" for version 2's; without the scope that systemd puts itself into."""
    found = {}
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path.removesuffix("/init.scope").strip("/")
    return found


class Group:
    """One control group in every hierarchy. All methods read and write small kernel files; those that wait say so."""

    def __init__(self, layout: Layout, path: str) -> None:
        self.layout, self.path = layout, path

    def prepare_parent(self) -> None:
        """Make the parent and, in version 2, hand it every controller, so that limits of its children exist.

        Version 2 refuses controllers to a group that holds processes itself, hence none may be put into the parent.
        """
        parent = Path(self.path).parent
        for root in self.layout.roots():
            (root / parent).mkdir(parents=True, exist_ok=True)
        if self.layout.unified is not None:
            wanted = _controllers(self.layout.unified)
            for folder in [self.layout.unified, *_down(self.layout.unified, parent)]:
                _delegate(folder, wanted)
        if "cpuset" in self.layout.legacy:
            for folder in _down(self.layout.legacy["cpuset"], parent):
                _inherit_cpuset(folder)

    def folders(self) -> list[Path]:
        """The group in every hierarchy that has it."""
        return [folder for root in self.layout.roots() if (folder := root / self.path).is_dir()]

    def exists(self) -> bool:
        return bool(self.folders())

    def processes(self) -> set[int]:
        """Every process in the group and below it, by pid of this namespace."""
        pids: set[int] = set()
        root = self.layout.unified or self.layout.roots()[0]
        for folder, _, _ in os.walk(root / self.path):
            with contextlib.suppress(OSError):
                pids.update(int(word) for word in (Path(folder) / "cgroup.procs").read_text().split())
        return pids

    def remove(self) -> None:
        """Remove the group and what the guest made below it; what still holds processes stays."""
        for root in self.layout.roots():
            for folder, _, _ in os.walk(root / self.path, topdown=False):
                _remove(Path(folder))

    def remove_parents(self) -> None:
        """Remove the folders above the group that are empty."""
        for root in self.layout.roots():
            for parent in Path(self.path).parents:
                if parent != Path():
                    _remove(root / parent)

    def settings(self, limits: Mapping[str, str]) -> list[tuple[str, str]]:
        """Version 2 words as the files and values of this host, in the order in which they must be written."""
        found: list[tuple[str, str]] = []
        for file, value in limits.items():
            controller = file.partition(".")[0]
            legacy = "blkio" if controller == "io" else controller
            if legacy in self.layout.legacy:
                found += [(self._weight(each), text) for each, text in _translate(file, value, limits)]
            elif file in _ONLY_1:
                continue
            elif file == "io.weight":
                self.layout.root(file)
                found.append((self._weight(file), value))
            else:
                self.layout.root(file)
                found += [(file, line) for line in value.splitlines()]
        # Version 1 refuses a swap-and-memory limit below the memory limit: the larger step first is the caller's `write`.
        return sorted(found, key=lambda setting: setting[0].startswith("memory.memsw"))

    def only_unified(self, limits: Mapping[str, str]) -> dict[str, str]:
        """The settings that belong to version 2 on a host with both: liblxc leaves them out there."""
        if self.layout.pure or self.layout.unified is None:
            return {}
        written = {file for file, _ in self.settings(limits)}
        there = _controllers(self.layout.unified)
        return {file: value for file, value in limits.items() if file in written and file.partition(".")[0] in there}

    def _weight(self, file: str) -> str:
        """A weight goes to the scheduler that the kernel has: BFQ keeps its own."""
        bfq = {"blkio.weight": "blkio.bfq.weight", "io.weight": "io.bfq.weight"}.get(file, "")
        folder = self.layout.root(file) / Path(self.path).parent
        return bfq if bfq and not (folder / file).exists() and (folder / bfq).exists() else file

    def check(self, settings: Iterable[tuple[str, str]]) -> None:
        """Raises Unsupported for a setting whose file the kernel does not offer (asked of the prepared parent)."""
        for file, _ in settings:
            if not (self.layout.root(file) / Path(self.path).parent / file).exists():
                raise Unsupported(f"this host's kernel has no cgroup setting {file}")

    def write(self, limits: Mapping[str, str]) -> None:
        """Apply version 2 words to the live group. Raises Invalid with the kernel's reason for a value it refuses."""
        settings = self.settings(self._with_swap(limits))
        if self._memsw_first(settings):
            settings.reverse()
        for file, value in settings:
            path = self.layout.root(file) / self.path / file
            try:
                path.write_text(value)
            except FileNotFoundError as error:
                raise Unsupported(f"this host's kernel has no cgroup setting {file}") from error
            except OSError as error:
                raise Invalid(f"the kernel refuses {value} for {file}: {error.strerror}") from error

    def _with_swap(self, limits: Mapping[str, str]) -> Mapping[str, str]:
        """Version 1 limits memory and swap together: changing one of the two words means writing the sum."""
        given = {"memory.max", "memory.swap.max"} & limits.keys()
        if "memory" not in self.layout.legacy or len(given) != 1:
            return limits
        memory, both = self._number("memory.limit_in_bytes"), self._number("memory.memsw.limit_in_bytes")
        if "memory.swap.max" in given:
            return {"memory.max": "max" if memory > _NO_LIMIT else str(memory), **limits}
        return limits if both == 0 or both > _NO_LIMIT else {**limits, "memory.swap.max": str(both - memory)}

    def _memsw_first(self, settings: list[tuple[str, str]]) -> bool:
        wanted = dict(settings).get("memory.limit_in_bytes")
        if wanted is None or "memory.memsw.limit_in_bytes" not in dict(settings):
            return False
        now = self._number("memory.memsw.limit_in_bytes")
        return int(wanted) < 0 or int(wanted) > now

    def freeze(self) -> None:
        """Stop every process of the group; blocks until all have stopped (milliseconds), at most ten seconds."""
        self._set_frozen(True)

    def thaw(self) -> None:
        self._set_frozen(False)

    def frozen(self) -> bool:
        folder, two = self._freezer()
        with contextlib.suppress(OSError):
            if two:
                return "frozen 1" in (folder / "cgroup.events").read_text()
            return (folder / "freezer.state").read_text().strip() == "FROZEN"
        return False

    def _freezer(self) -> tuple[Path, bool]:
        if self.layout.unified is not None and (self.layout.unified / self.path / "cgroup.freeze").exists():
            return self.layout.unified / self.path, True
        return self.layout.root("freezer.state") / self.path, False

    def thawing(self) -> tuple[Path, str]:
        """The file that thaws the group, and the word for it: for a program that must do it alone."""
        folder, two = self._freezer()
        return (folder / "cgroup.freeze", "0") if two else (folder / "freezer.state", "THAWED")

    def _set_frozen(self, wanted: bool) -> None:
        folder, two = self._freezer()
        if two:
            (folder / "cgroup.freeze").write_text("1" if wanted else "0")
            done = _await_event(folder / "cgroup.events", f"frozen {int(wanted)}")
        else:
            done = _await_state(folder / "freezer.state", "FROZEN" if wanted else "THAWED")
        if not done:
            if wanted:
                self._set_frozen(False)
            raise Unavailable(f"not every process of {self.path} stopped within {FREEZE_DEADLINE:.0f} seconds")

    def usage(self) -> dict[str, int]:
        """memory, memory_peak, swap, swap_peak (bytes), cpu (nanoseconds), processes; 0 where the host does not count."""
        number = self._number
        if "memory" in self.layout.legacy:
            memory, peak = number("memory.usage_in_bytes"), number("memory.max_usage_in_bytes")
            swap = max(0, number("memory.memsw.usage_in_bytes") - memory)
            swap_peak = max(0, number("memory.memsw.max_usage_in_bytes") - peak)
        else:
            memory, peak = number("memory.current"), number("memory.peak")
            swap, swap_peak = number("memory.swap.current"), number("memory.swap.peak")
        return {
            "memory": memory,
            "memory_peak": max(peak, memory),
            "swap": swap,
            "swap_peak": swap_peak,
            "cpu": self._cpu(),
            "processes": number("pids.current"),
        }

    def _cpu(self) -> int:
        if "cpuacct" in self.layout.legacy:
            return self._number("cpuacct.usage")
        if self.layout.unified is not None:
            with contextlib.suppress(OSError):
                words = (self.layout.unified / self.path / "cpu.stat").read_text().split()
                return int(words[words.index("usage_usec") + 1]) * 1000
        return 0

    def _number(self, file: str) -> int:
        """A file that holds one number; 0 when the host does not have it."""
        with contextlib.suppress(OSError, ValueError, Unsupported):
            return int((self.layout.root(file) / self.path / file).read_text())
        return 0


@functools.cache
def _controllers(root: Path) -> tuple[str, ...]:
    return tuple((root / "cgroup.controllers").read_text().split())


def _remove(folder: Path) -> None:
    """rmdir, once more for a group whose children the kernel, working behind the scenes, has not quite let go of."""
    end = time.monotonic() + _REMOVE_GRACE
    while True:
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or _in_use(folder) or time.monotonic() > end:
                return
            time.sleep(0.002)
        else:
            return


def _in_use(folder: Path) -> bool:
    try:
        return folder.stat().st_nlink > 2 or bool((folder / "cgroup.procs").read_bytes())
    except OSError:
        return True


def _down(root: Path, path: Path) -> Iterator[Path]:
    folder = root
    for part in path.parts:
        folder = folder / part
        yield folder


def _delegate(folder: Path, controllers: Iterable[str]) -> None:
    # One by one: a controller that this group may not have (cpu with realtime processes) must not cost the others.
    for controller in controllers:
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _inherit_cpuset(folder: Path) -> None:
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not (folder / file).read_text().strip():
            (folder / file).write_text((folder.parent / file).read_text())


def _translate(file: str, value: str, limits: Mapping[str, str]) -> list[tuple[str, str]]:
    """One version 2 setting in version 1's files."""
    match file:
        case "memory.max":
            return [("memory.limit_in_bytes", _bytes(value))]
        case "memory.high":
            return [("memory.soft_limit_in_bytes", _bytes(value))]
        case "memory.swap.max":
            memory = limits.get("memory.max", "max")
            total = "-1" if "max" in (value, memory) else str(int(value) + int(memory))
            return [("memory.memsw.limit_in_bytes", total)]
        case "cpu.max":
            quota, _, period = value.partition(" ")
            return [("cpu.cfs_period_us", period or "100000"), ("cpu.cfs_quota_us", "-1" if quota == "max" else quota)]
        case "cpu.weight":
            return [("cpu.shares", str(max(2, int(value) * _V1_SHARES // _V2_WEIGHT)))]
        case "io.weight":
            weight = int(value.removeprefix("default "))
            return [("blkio.weight", str(min(1000, max(10, weight))))]
        case "io.max":
            return [setting for line in value.splitlines() for setting in _throttle(line)]
    if huge := re.fullmatch(r"hugetlb\.(\w+)\.max", file):
        return [(f"hugetlb.{huge[1]}.limit_in_bytes", _bytes(value))]
    return [(file, line) for line in value.splitlines()]


def _throttle(line: str) -> Iterator[tuple[str, str]]:
    device, *words = line.split()
    for word in words:
        key, _, value = word.partition("=")
        yield f"blkio.throttle.{_THROTTLE[key]}_device", f"{device} {'0' if value == 'max' else value}"


def _bytes(value: str) -> str:
    return "-1" if value == "max" else value


def _await_event(path: Path, line: str) -> bool:
    """Wait until `line` is in a cgroup.events file, which reports changes by POLLPRI."""
    fd = os.open(path, os.O_RDONLY)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        while line not in os.pread(fd, 4096, 0).decode().splitlines():
            if not poll.poll(FREEZE_DEADLINE * 1000):
                return False
        return True
    finally:
        os.close(fd)


def _await_state(path: Path, state: str) -> bool:
    """Version 1 tells nobody when it is done, and needs the word again for processes forked meanwhile."""
    end = time.monotonic() + FREEZE_DEADLINE
    while time.monotonic() < end:
        path.write_text(state)
        if path.read_text().strip() == state:
            return True
        time.sleep(0.002)
    return False
