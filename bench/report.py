"""The samples as Markdown: the figures that hutch promises, and everything that was measured."""

import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.daemons import HUTCH, LXD
from bench.floor import FLOOR
from bench.samples import Samples

_OWN, _PEER = f"{HUTCH} overlay", f"{LXD} btrfs"


@dataclass(frozen=True)
class Figure:
    """Something promised: `value` is at most `limit`, both in `unit`."""

    what: str
    value: Callable[[Samples], float | None]
    limit: float
    unit: str
    peer: Callable[[Samples], float | None] | None = None
    """The same figure of LXD's."""


FIGURES = (
    Figure(
        "start of busybox (API) : `lxc-start` alone",
        lambda s: s.ratio("start", _OWN, "start", FLOOR),
        3,
        "x",
        lambda s: s.ratio("start", _PEER, "start", FLOOR),
    ),
    Figure(
        "warm launch of Debian 12 (CLI) until systemd is running",
        lambda s: s.median("launch Debian, running", _OWN),
        700,
        "ms",
        lambda s: s.median("launch Debian, running", _PEER),
    ),
    Figure(
        "the same : LXD's on btrfs",
        lambda s: s.ratio("launch Debian, running", _OWN, "launch Debian, running", _PEER),
        1 / 3,
        "x",
    ),
    Figure(
        "forced stop of busybox (API)",
        lambda s: s.median("stop", _OWN),
        120,
        "ms",
        lambda s: s.median("stop", _PEER),
    ),
    Figure(
        "exec `true` (API) : `lxc-attach` alone",
        lambda s: s.ratio("exec", _OWN, "exec", FLOOR),
        1.3,
        "x",
        lambda s: s.ratio("exec", _PEER, "exec", FLOOR),
    ),
    Figure(
        "`hutch list` of 3 running instances (CLI)",
        lambda s: s.median("list", HUTCH),
        90,
        "ms",
        lambda s: s.median("list", LXD),
    ),
    Figure(
        "daemon at rest, 3 running instances: RSS",
        lambda s: s.median("RSS", HUTCH),
        60,
        "MiB",
        lambda s: s.median("RSS", LXD),
    ),
    Figure(
        "daemon at rest: share of a processor",
        lambda s: s.median("CPU", HUTCH),
        0.1,
        "%",
        lambda s: s.median("CPU", LXD),
    ),
)

_ROWS = {
    "create": "create busybox",
    "start": "start busybox",
    "exec": "exec `true`",
    "snapshot": "snapshot, running",
    "restart": "restart --force",
    "stop": "stop --force",
    "restore": "restore",
    "copy": "copy",
    "delete": "delete",
    "launch Debian, command": "launch Debian 12, the command",
    "launch Debian, running": "launch Debian 12 until systemd runs",
    "stop Debian": "stop --force, Debian 12",
    "delete Debian": "delete, Debian 12",
}
_DAEMON_ROWS = {
    "list": "`list` of 3 running (CLI), ms",
    "recursion=2, 3 running": "instances?recursion=2, 3 running, ms",
    "create empty": "create an empty instance, ms",
    "recursion=1, many": "instances?recursion=1, many stopped, ms",
    "recursion=2, many": "instances?recursion=2, many stopped, ms",
    "RSS": "RSS at rest, MiB",
    "PSS": "PSS at rest, MiB",
    "CPU": "processor at rest, %",
}


def report(samples: Samples, notes: Sequence[str], command: str) -> str:
    parts = [
        machine(command, notes),
        "### What is promised\n\n" + _figures(samples),
        "### By instance, in milliseconds: median (least-most, samples)\n\n"
        + _table(samples, _ROWS, [_OWN, f"{HUTCH} btrfs", _PEER, f"{LXD} dir", FLOOR]),
        "### By daemon\n\n" + _table(samples, _DAEMON_ROWS, [HUTCH, LXD, FLOOR]),
    ]
    return "\n\n".join(parts) + "\n"


def missed(samples: Samples) -> list[str]:
    """The figures that are not as promised."""
    values = ((figure, figure.value(samples)) for figure in FIGURES)
    return [figure.what for figure, value in values if value is not None and value > figure.limit]


def _figures(samples: Samples) -> str:
    lines = ["| figure | hutch | at most | verdict | LXD |", "|---|---|---|---|---|"]
    for figure in FIGURES:
        value, peer = figure.value(samples), figure.peer(samples) if figure.peer else None
        verdict = "not measured" if value is None else "met" if value <= figure.limit else "**missed**"
        shown = [_number(value, figure.unit), _number(figure.limit, figure.unit), verdict, _number(peer, figure.unit)]
        lines.append(f"| {figure.what} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    shown = f"{value:.0f}" if unit in ("ms", "MiB") else f"{value:.2f}"
    return f"{shown}{unit}" if unit in ("x", "%") else f"{shown} {unit}"


def _table(samples: Samples, rows: dict[str, str], subjects: Sequence[str]) -> str:
    shown = [subject for subject in subjects if any(samples.of(row, subject) for row in rows)]
    lines = [f"| | {' | '.join(shown)} |", "|---" * (len(shown) + 1) + "|"]
    for row, label in rows.items():
        if any(samples.of(row, subject) for subject in shown):
            lines.append(f"| {label} | {' | '.join(_cell(samples, row, subject) for subject in shown)} |")
    return "\n".join(lines)


def _cell(samples: Samples, row: str, subject: str) -> str:
    values = samples.of(row, subject)
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else "-"
    places = 1 if samples.median(row, subject) or 0 else 0
    middle, least, most = samples.median(row, subject), min(values), max(values)
    return f"{middle:.{places}f} ({least:.{places}f}-{most:.{places}f}, {len(values)})"


def machine(command: str, notes: Sequence[str] = ()) -> str:
    """When, by which command and on what it was measured."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    facts = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit or 'unknown'}, by `{command}`.",
        f"{os.cpu_count()} x {model}, {memory:.0f} GiB, {system}, kernel {platform.release()}, Python "
        f"{platform.python_version()}. Load average at the end (it includes the benchmark): {load}.",
        *notes,
    ]
    return "\n".join(facts)
