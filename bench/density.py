"""`python -m bench.density`: how many guests a host carries, and what each costs, measured while they become more.

Busybox guests with an address each, on as many bridges as the kernel's limit of 1023 ports asks for, then guests with systemd.
Prints Markdown; `--write` puts it, and its plots, into docs/density.md.
"""

import argparse
import contextlib
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import rest
from bench.cell import cell, pivots, remove_cgroups, remove_tree, until
from bench.daemons import HUTCH, Daemon, answers
from bench.lifecycle import execute
from bench.measure import say
from bench.plot import Line, plot
from bench.report import machine
from hutch.client.connection import Client, url
from hutch.daemon.config import Options
from hutch.imagebuild import cached

_PAGE = Path(__file__).parents[1] / "docs" / "density.md"
_MARK = "<!-- below this line: written by `python -m bench.density --write` -->\n"
_PORTS = 900
_SETTLE = 20.0
"""Seconds after the last launch before memory is read."""


@dataclass
class Row:
    """The host with so many guests running. Times in milliseconds, memory in MiB (of the whole machine, and of the daemon)."""

    guests: int
    launch: float
    stop: float
    execute: float
    listed: float
    command: float
    restart: float
    memory: float
    daemon: float
    descriptors: int
    processes: int


@dataclass
class Crowd:
    """A daemon in a cell, which can be killed and started again without the cell."""

    state: Path
    prefix: str
    launches: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory = self.state / "hutch"
        programs = Path(sys.prefix) / "bin"
        environment = {"PATH": os.environ["PATH"], "HOME": "/root", "HUTCH_DIR": str(self.directory)}
        client = Client(str(self.directory / "unix.socket"))
        self.daemon = Daemon(HUTCH, client, [str(programs / "hutch")], environment, {"overlay": {}}, self.prefix)
        self.argv = [str(programs / "hutchd"), "--dir", str(self.directory)]
        self.inside = 0
        self.process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def home(self) -> Iterator[None]:
        """The cell; the daemon is started in it by `start`."""
        with cell(self.state / "cell", ["sleep", "infinity"], self.daemon.environment) as outer:
            until(lambda: len(_children(outer.pid)) > 0 and _inner(outer.pid) > 0, "the cell")
            self.inside = _inner(outer.pid)
            until(lambda: Path(f"/proc/{self.inside}/root/var/lib/lxcfs/proc/meminfo").exists(), "lxcfs in the cell")
            try:
                yield
            finally:
                if self.process is not None:
                    self.process.kill()
                    self.process.wait()

    def start(self) -> float:
        """Milliseconds until the daemon has answered with all that runs."""
        began = time.perf_counter()
        with (self.state / "log").open("ab") as log:
            words = ["nsenter", "-t", str(self.inside), "-n", "-m", "-p", *self.argv]
            self.process = subprocess.Popen(
                words, env=dict(self.daemon.environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: answers(self.daemon.client), "hutchd to answer", 600)
        self.daemon.client.get("/1.0/instances?recursion=2")
        return (time.perf_counter() - began) * 1000

    def kill(self) -> None:
        assert self.process is not None
        os.kill(self.daemon.pid(), signal.SIGKILL)
        self.process.wait()
        self.daemon.client.close()

    def bridges(self, count: int) -> None:
        for number in range(count):
            config = {"ipv4.address": f"10.{80 + number}.0.1/16", "ipv6.address": "none", "ipv4.nat": "false"}
            self.daemon.do("POST", url("networks"), {"name": f"crowdbr{number}", "type": "bridge", "config": config})

    def launch(self, image: str, number: int) -> float:
        """Create and start one; milliseconds."""
        devices = {
            "root": {"type": "disk", "path": "/", "pool": "overlay"},
            "eth0": {"type": "nic", "network": f"crowdbr{number // _PORTS}", "name": "eth0"},
        }
        wanted = {"name": f"g{number}", "source": {"type": "image", "alias": image}, "devices": devices, "profiles": []}
        began = time.perf_counter()
        self.daemon.do("POST", url("instances"), {**wanted, "start": True})
        return (time.perf_counter() - began) * 1000

    def row(self, guests: int, launches: Sequence[float], before: float) -> Row:
        """What all costs now; the daemon is killed and started again on the way."""
        time.sleep(_SETTLE)
        memory = before - _available()
        daemon = self.daemon
        name = f"g{guests - 1}"
        stops, execs, lists, commands = [], [], [], []
        for _ in range(3):
            execs.append(_timed(lambda: execute(daemon, name, ["true"])))
            lists.append(_timed(lambda: daemon.client.get("/1.0/instances?recursion=2")))
            commands.append(_timed(lambda: daemon.cli("list", "--format", "compact")))
        state, stop = url("instances", name, "state"), {"action": "stop", "force": True, "timeout": -1}
        for _ in range(3):
            stops.append(_timed(lambda: daemon.do("PUT", state, stop)))
            daemon.do("PUT", state, {"action": "start", "timeout": -1})
        resident, _ = rest.memory(daemon.pid())
        descriptors = len(list(Path(f"/proc/{daemon.pid()}/fd").iterdir()))
        self.kill()
        restart = self.start()
        return Row(
            guests,
            median(launches),
            median(stops),
            median(execs),
            median(lists),
            median(commands),
            restart,
            memory,
            resident,
            descriptors,
            sum(1 for path in Path("/proc").iterdir() if path.name.isdecimal()),
        )

    def down_and_up(self) -> tuple[float, float]:
        """Seconds for the whole host to stop every guest cleanly, and to bring all back after a boot."""
        running = len(self._running())
        began = time.monotonic()
        self.daemon.cli("admin", "shutdown")
        assert self.process is not None
        self.process.wait()
        self.daemon.client.close()
        down = time.monotonic() - began
        began = time.monotonic()
        self.argv = [*self.argv[:3], "--boot-id", secrets.token_hex(8)]
        self.start()
        until(lambda: len(self._running()) == running, "every guest to be back", 1800, 0.5)
        return down, time.monotonic() - began

    def _running(self) -> list[str]:
        found = self.daemon.client.get("/1.0/instances?recursion=1")
        return [each["name"] for each in found if each["status"] == "Running"]


def _timed(work: object) -> float:
    assert callable(work)
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _inner(pid: int) -> int:
    """The first process of the cell: unshare forks it."""
    while (below := _children(pid)) and (name := Path(f"/proc/{below[0]}/comm").read_text().strip()):
        if name == "sh":
            return below[0]
        pid = below[0]
    return 0


def _available() -> float:
    """MiB of the machine's memory that is free or can be."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no MemAvailable in /proc/meminfo")


def measure(image: str, marks: Sequence[int]) -> tuple[list[Row], list[float], tuple[float, float]]:
    """A row for each mark, every launch in order, and what down_and_up says."""
    state = Path(tempfile.mkdtemp(prefix="hutch-bench-", dir="/var/tmp"))
    state.chmod(0o755)
    before = pivots()
    crowd = Crowd(state, f"b{secrets.token_hex(3)}")
    rows: list[Row] = []
    try:
        with crowd.home():
            crowd.start()
            crowd.daemon.set_up({image: cached(image).path})
            crowd.bridges(-(-max(marks) // _PORTS))
            crowd.launch(image, 0)
            crowd.daemon.do("PUT", url("instances", "g0", "state"), {"action": "stop", "force": True, "timeout": -1})
            crowd.daemon.do("DELETE", url("instances", "g0"))
            time.sleep(2)
            empty = _available()
            for number in range(max(marks)):
                crowd.launches.append(crowd.launch(image, number))
                if number + 1 in marks:
                    rows.append(crowd.row(number + 1, crowd.launches[-20:], empty))
                    say(f"{rows[-1]}")
            return rows, crowd.launches, crowd.down_and_up()
    finally:
        own = f"hutch-{Options(state / 'hutch', '', None, '').identity}"
        remove_cgroups([own], pivots() - before)
        remove_tree(state)


_COLUMNS = (
    ("guests", lambda row: f"{row.guests}"),
    ("launch, ms", lambda row: f"{row.launch:.0f}"),
    ("stop, ms", lambda row: f"{row.stop:.0f}"),
    ("exec, ms", lambda row: f"{row.execute:.1f}"),
    ("list with state, ms", lambda row: f"{row.listed:.0f}"),
    ("`hutch list`, ms", lambda row: f"{row.command:.0f}"),
    ("daemon killed until all is listed again, ms", lambda row: f"{row.restart:.0f}"),
    ("memory a guest, MiB", lambda row: f"{row.memory / row.guests:.2f}"),
    ("daemon, MiB", lambda row: f"{row.daemon:.0f}"),
    ("its descriptors", lambda row: f"{row.descriptors}"),
    ("processes of the host", lambda row: f"{row.processes}"),
)


def report(image: str, rows: Sequence[Row], launches: Sequence[float], turn: tuple[float, float]) -> str:
    head = [name for name, _ in _COLUMNS]
    lines = [f"### {image}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(text(row) for _, text in _COLUMNS)} |" for row in rows]
    first, last = median(launches[:20]), median(launches[-20:])
    lines += [
        "",
        f"The last twenty launches took {last / first:.2f} times as long as the first twenty ({last:.0f} and {first:.0f} ms, medians).",
        f"The host with all of them stops cleanly in {turn[0]:.0f} s and is back, every guest running, in {turn[1]:.0f} s.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.density", description=__doc__)
    parser.add_argument("--busybox", type=int, default=1000, metavar="N", help="guests with busybox (default 1000)")
    parser.add_argument("--systemd", type=int, default=200, metavar="N", help="guests with systemd (default 200)")
    parser.add_argument("--write", action="store_true", help=f"put the results into {_PAGE.name}")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("must be run as root")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    text = ""
    for image, most in (("busybox", options.busybox), ("debian/12", options.systemd)):
        if not most:
            continue
        marks = sorted({number for number in (1, 10, 50, 100, 200, 400, 600, 800, 1000, most) if number <= most})
        rows, launches, turn = measure(image, marks)
        text += report(image, rows, launches, turn) + "\n"
        if options.write:
            name = f"density-{image.partition('/')[0]}"
            text += f"![launch, list, exec and stop with the number of guests]({name}.svg)\n\n"
            times = {"launch": "launch", "stop": "stop", "listed": "list with state", "execute": "exec"}
            lines = [
                Line(label, [(row.guests, getattr(row, member)) for row in rows]) for member, label in times.items()
            ]
            (_PAGE.parent / f"{name}.svg").write_text(plot(lines, "guests", "milliseconds"))
    text = f"{machine(shlex.join(['python', '-m', 'bench.density', *sys.argv[1:]]))}\n\n{text}"
    print(text)
    if options.write:
        head = _PAGE.read_text().partition(_MARK)[0]
        _PAGE.write_text(f"{head}{_MARK}\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
