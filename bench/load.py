"""`python -m bench.load`: requests a second, latency, TLS handshakes and MB/s, hutch and LXD in turn under the same load.

Prints Markdown; `--write` puts it into docs/load.md.
"""

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.daemons import HUTCH, LXD, Daemon, hutch, lxd
from bench.lifecycle import create
from bench.lxdpackage import Missing
from bench.measure import say, workplace
from bench.report import machine
from hutch.client.connection import url
from hutch.imagebuild import cached

_PAGE = Path(__file__).parents[1] / "docs" / "load.md"
_MARK = "<!-- below this line: written by `python -m bench.load --write` -->\n"
_POOLS = {HUTCH: {"overlay": {}}, LXD: {"dir": {}}}
_PORT = 8443
_SMALL, _GREAT = 1.5, 20.0
"""How many times LXD's requests a second are promised: of small answers, and of recursion=2 of 1000."""


@dataclass(frozen=True)
class Plan:
    """How much to measure: instances to list, how many of them run, seconds of each load, connections, MiB of a file."""

    sizes: tuple[int, ...] = (100, 1000)
    running: int = 100
    seconds: float = 5.0
    connections: int = 2
    rounds: int = 3
    mebibytes: int = 512
    beside_lxd: bool = True


QUICK = Plan(sizes=(3,), running=1, seconds=0.2, connections=1, rounds=1, mebibytes=4, beside_lxd=False)


@dataclass(frozen=True)
class Sample:
    """Requests (or handshakes, or MB) a second, and the milliseconds of one: median and 99th percentile."""

    rate: float
    middle: float
    slow: float


Rows = dict[str, dict[str, list[Sample]]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one short sample of each, hutch only: does it work at all?"
    )
    parser.add_argument("--no-lxd", action="store_true", help="leave LXD out")
    parser.add_argument("--write", action="store_true", help=f"put the results into docs/{_PAGE.name}")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("must be run as root")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = QUICK if options.quick else Plan(beside_lxd=not options.no_lxd)
    rows, notes = measure(plan)
    text = report(rows, notes, shlex.join(["python", "-m", "bench.load", *sys.argv[1:]]))
    print(text)
    if options.write:
        head = _PAGE.read_text().partition(_MARK)[0] if _PAGE.exists() else "# The API under load\n\n"
        _PAGE.write_text(f"{head}{_MARK}\n{text}")
    return 0


def measure(plan: Plan) -> tuple[Rows, list[str]]:
    """Every sample by row and daemon, and notes on what could not be measured."""
    rows: Rows = {}
    notes: list[str] = []
    with workplace() as (state, prefix), contextlib.ExitStack() as stack:
        daemons = [stack.enter_context(hutch(state, _POOLS[HUTCH], prefix))]
        if plan.beside_lxd:
            try:
                daemons.append(stack.enter_context(lxd(state, _POOLS[LXD], prefix)))
            except Missing as error:
                notes.append(f"LXD was left out: {error}.")
        pair = _key_pair(state)
        for daemon in daemons:
            say(f"setting up {daemon.name}")
            daemon.set_up({"busybox": cached("busybox", say).path})
            _open(daemon, pair[0])
        made = 0
        for size in plan.sizes:
            say(f"{size} instances")
            for daemon in daemons:
                _fill(daemon, size - made)
            made = size
            _lists(daemons, f"{size} stopped", size, plan, rows)
        say(f"{plan.running} of them running")
        for daemon in daemons:
            _start(daemon, plan.running)
        _lists(daemons, f"{made}, {plan.running} running", made, plan, rows)
        _tls(daemons, pair, plan, rows)
    return rows, notes


def _key_pair(state: Path) -> tuple[Path, Path]:
    """The certificate and the key of a client."""
    certificate, key = state / "load.crt", state / "load.key"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-days", "1", "-subj", "/CN=load"]
    words = ["openssl", "req", "-x509", *curve, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)
    return certificate, key


def _open(daemon: Daemon, certificate: Path) -> None:
    """HTTPS, with the client trusted."""
    daemon.do("PATCH", "/1.0", {"config": {"core.https_address": f"127.0.0.1:{_PORT}"}})
    body = "".join(line for line in certificate.read_text().splitlines() if not line.startswith("-"))
    daemon.do("POST", url("certificates"), {"type": "client", "name": "load", "certificate": body})


def _fill(daemon: Daemon, count: int) -> None:
    for _ in range(count):
        create(daemon, daemon.fresh(), next(iter(daemon.pools)), {"type": "image", "alias": "busybox"})


def _start(daemon: Daemon, count: int) -> None:
    for each in daemon.client.get(url("instances"))[:count]:
        daemon.do("PUT", f"{each}/state", {"action": "start", "timeout": -1})


def _lists(daemons: list[Daemon], what: str, size: int, plan: Plan, rows: Rows) -> None:
    targets = {"GET /1.0": "/1.0"} | {
        f"list of {what}, recursion={depth}": f"/1.0/instances?recursion={depth}" for depth in (0, 1, 2)
    }
    for number in range(plan.rounds):
        for daemon in daemons if number % 2 else reversed(daemons):
            for row, target in targets.items():
                words = ["requests", daemon.client.socket_path, target, str(plan.seconds)]
                _note(rows, row, daemon, _loaded(daemon, words, plan.connections), plan.seconds)


def _tls(daemons: list[Daemon], pair: tuple[Path, Path], plan: Plan, rows: Rows) -> None:
    keys = [str(_PORT), *map(str, pair)]
    for daemon in daemons:
        say(f"TLS to {daemon.name}")
        name = daemon.client.get(url("instances"))[0]
        target = f"{name}/files?path=/load"
        found = _loaded(daemon, ["handshakes", *keys, str(plan.seconds)], plan.connections)
        _note(rows, "TLS handshakes", daemon, found, plan.seconds)
        for row, words in (
            ("MB/s in by TLS", ["upload", *keys, target, str(plan.mebibytes)]),
            ("MB/s out by TLS", ["download", *keys, target]),
        ):
            (done,) = _loaded(daemon, words, 1)
            (took,) = done["times"]
            rows.setdefault(row, {}).setdefault(daemon.name, []).append(Sample(done["bytes"] / took / 1000, took, took))


def _loaded(daemon: Daemon, words: list[str], count: int) -> list[dict[str, list[float]]]:
    """What so many copies of the loading program counted, side by side in the daemon's network."""
    argv = ["nsenter", f"--target={daemon.pid()}", "--net", "--", sys.executable, "-m", "bench.client", *words]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=_PAGE.parents[1]) for _ in range(count)]
    answers = [each.communicate()[0] for each in running]
    if any(each.returncode for each in running):
        raise RuntimeError(f"{' '.join(words)}: the load broke off")
    return [json.loads(each) for each in answers]


def _note(rows: Rows, row: str, daemon: Daemon, found: list[dict[str, list[float]]], seconds: float) -> None:
    times = sorted(each for one in found for each in one["times"])
    sample = Sample(len(times) / seconds, median(times), times[int(len(times) * 0.99)])
    rows.setdefault(row, {}).setdefault(daemon.name, []).append(sample)


def report(rows: Rows, notes: list[str], command: str) -> str:
    """Markdown: for each row the rates, the latencies, and what was promised."""
    lines = [
        machine(command),
        "",
        "Medians of the rounds; latency as median / 99th percentile in ms. A second of it is a second of wall time with every",
        "connection busy; the loading program takes its share of the same processors.",
        "",
        f"| | {HUTCH}, a second | latency | {LXD}, a second | latency | times | promised |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row, by_name in rows.items():
        own, peer = _middle(by_name.get(HUTCH, [])), _middle(by_name.get(LXD, []))
        times = f"{own.rate / peer.rate:.1f} x" if own and peer else ""
        lines.append(f"| {row} | {_shown(own)} | {_shown(peer)} | {times} | {_promised(row)} |")
    return "\n".join([*lines, "", *notes, ""])


def _middle(samples: list[Sample]) -> Sample | None:
    return sorted(samples, key=lambda each: each.rate)[len(samples) // 2] if samples else None


def _shown(sample: Sample | None) -> str:
    return f"{sample.rate:.0f} | {sample.middle:.1f} / {sample.slow:.1f}" if sample else "not measured |"


def _promised(row: str) -> str:
    if row == "GET /1.0" or row.endswith("recursion=0"):
        return f"{_SMALL} x"
    return f"{_GREAT:.0f} x" if row.startswith("list of 1000") and row.endswith("recursion=2") else ""


if __name__ == "__main__":
    sys.exit(main())
