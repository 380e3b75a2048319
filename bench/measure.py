"""Sets everything up, takes every sample with the subjects in turn, and takes everything down again."""

import contextlib
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import lifecycle, rest
from bench.cell import pivots, remove_cgroups, remove_tree
from bench.daemons import HUTCH, LXD, Daemon, hutch, lxd
from bench.floor import FLOOR, Floor, floor
from bench.lxdpackage import Missing
from bench.samples import Samples
from hutch.client.connection import url
from hutch.daemon.config import Options
from hutch.imagebuild import cached

_POOLS: dict[str, dict[str, dict[str, str]]] = {
    HUTCH: {"overlay": {}, "btrfs": {"size": "10GiB"}},
    LXD: {"btrfs": {"size": "10GiB"}, "dir": {}},
}


@dataclass(frozen=True)
class Plan:
    """How much to measure: rounds of each kind, and seconds of rest."""

    busybox: int = 15
    execs: int = 4
    debian: int = 7
    debian_dir: int = 2
    lists: int = 15
    stopped: int = 100
    rest: float = 60.0
    beside_lxd: bool = True


QUICK = Plan(busybox=1, execs=1, debian=1, debian_dir=0, lists=1, stopped=3, rest=1.0, beside_lxd=False)


@dataclass(frozen=True)
class Subject:
    daemon: Daemon
    pool: str

    @property
    def name(self) -> str:
        return f"{self.daemon.name} {self.pool}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(plan: Plan) -> tuple[Samples, list[str]]:
    """Every sample, and notes on what could not be measured."""
    samples, notes = Samples(), []
    images = {name: cached(name, say).path for name in ("busybox", "debian/12")}
    with workplace() as (state, prefix), contextlib.ExitStack() as stack:
        ground = stack.enter_context(floor(state, f"{prefix}-floor"))
        daemons = [stack.enter_context(hutch(state, _POOLS[HUTCH], prefix))]
        if plan.beside_lxd:
            try:
                daemons.append(stack.enter_context(lxd(state, _POOLS[LXD], prefix)))
            except Missing as error:
                notes.append(f"LXD was left out: {error}.")
        _take(daemons, ground, images, plan, samples)
    return samples, notes


@contextlib.contextmanager
def workplace() -> Iterator[tuple[Path, str]]:
    """A directory on a real disk and a prefix for names, nothing of which is left afterwards."""
    state = Path(tempfile.mkdtemp(prefix="hutch-bench-", dir="/var/tmp"))
    state.chmod(0o755)
    prefix = f"b{secrets.token_hex(3)}"
    before = pivots()
    try:
        yield state, prefix
    finally:
        own = f"hutch-{Options(state / 'hutch', '', None, '').identity}"
        remove_cgroups([own, f"lxc.payload.{prefix}", f"lxc.monitor.{prefix}"], pivots() - before)
        remove_tree(state)


def _take(daemons: list[Daemon], ground: Floor, images: Mapping[str, Path], plan: Plan, samples: Samples) -> None:
    for daemon in daemons:
        say(f"setting up {daemon.name}")
        daemon.set_up(images)
    subjects = [Subject(daemon, pool) for daemon in daemons for pool in daemon.pools]
    _small_guests(subjects, ground, plan, samples)
    _whole_systems(subjects, plan, samples)
    for daemon in daemons:
        _three_running(daemon)
    _lists(daemons, plan, samples)
    say(f"{plan.rest:.0f} s of rest")
    _rest(daemons, plan, samples)
    _many_stopped(daemons, plan, samples)


def _turns(subjects: list[Subject], rounds: int, samples: Samples) -> Iterator[Subject]:
    """Each subject once a round, forth and back; the first round only warms caches."""
    for number in range(rounds + 1):
        samples.silent = number == 0
        yield from subjects if number % 2 else reversed(subjects)
    samples.silent = False


def _small_guests(subjects: list[Subject], ground: Floor, plan: Plan, samples: Samples) -> None:
    say("busybox, every step by API")
    for subject in _turns(subjects, plan.busybox, samples):
        lifecycle.busybox(subject.daemon, subject.pool, samples, subject.name, plan.execs)
        if subject is subjects[0]:
            samples.add("start", FLOOR, ground.ask("start"))
            for _ in range(plan.execs):
                samples.add("exec", FLOOR, ground.ask("attach"))
            samples.add("stop", FLOOR, ground.ask("stop"))


def _whole_systems(subjects: list[Subject], plan: Plan, samples: Samples) -> None:
    say("Debian 12, by command line")
    fast = [subject for subject in subjects if subject.pool != "dir"]
    for subject in _turns(fast, plan.debian, samples):
        lifecycle.debian(subject.daemon, subject.pool, samples, subject.name)
    if slow := [subject for subject in subjects if subject.pool == "dir"]:
        for subject in _turns(slow, plan.debian_dir, samples):
            lifecycle.debian(subject.daemon, subject.pool, samples, subject.name)


def _three_running(daemon: Daemon) -> None:
    for _ in range(3):
        name = daemon.fresh()
        lifecycle.create(daemon, name, next(iter(daemon.pools)), {"type": "image", "alias": "busybox"})
        daemon.do("PUT", url("instances", name, "state"), {"action": "start", "timeout": -1})


def _lists(daemons: list[Daemon], plan: Plan, samples: Samples) -> None:
    say("the command line client")
    for number in range(plan.lists + 1):
        samples.silent = number == 0
        for daemon in daemons:
            with samples.time("list", daemon.name):
                daemon.cli("list")
            with samples.time("recursion=2, 3 running", daemon.name):
                daemon.client.get(url("instances"), recursion=2)
        with samples.time("list", FLOOR):
            subprocess.run([sys.executable, "-c", "pass"], check=True)
    samples.silent = False


def _rest(daemons: list[Daemon], plan: Plan, samples: Samples) -> None:
    pids = [daemon.pid() for daemon in daemons]
    shares = rest.processor(pids, plan.rest)
    for daemon, pid, share in zip(daemons, pids, shares, strict=True):
        rss, pss = rest.memory(pid)
        samples.add("RSS", daemon.name, rss)
        samples.add("PSS", daemon.name, pss)
        samples.add("CPU", daemon.name, share)


def _many_stopped(daemons: list[Daemon], plan: Plan, samples: Samples) -> None:
    say(f"{plan.stopped} stopped instances")
    for daemon in daemons:
        for _ in range(plan.stopped):
            with samples.time("create empty", daemon.name):
                lifecycle.create(daemon, daemon.fresh(), next(iter(daemon.pools)), {"type": "none"})
    for _ in range(plan.lists):
        for daemon in daemons:
            for depth in (1, 2):
                with samples.time(f"recursion={depth}, many", daemon.name):
                    daemon.client.get(url("instances"), recursion=depth)
