"""Whichever party of a live move dies at whichever step: one copy of the guest lives on, with its connections."""

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import ApiError, Host, wait_until
from tests.migration.world import PORT, World

NAME = "mover"

# Where the daemon of a side stops, who is struck then, and on which host the guest must be in the end.
STAYS, GOES = "stays", "goes"
CASES = [
    ("source-frozen", "source daemon", STAYS),
    ("source-before-decision", "source criu", STAYS),
    ("source-decided", "source daemon", GOES),
    ("target-decided", "target criu", STAYS),
    ("target-settled", "target daemon", GOES),
    ("source-ended", "line", GOES),
]
MORE = [
    ("target-prepared", "target daemon", STAYS),
    ("source-offered", "source daemon", STAYS),
    ("source-offered", "target daemon", STAYS),
    ("source-offered", "line", STAYS),
    ("source-arranged", "source daemon", STAYS),
    ("source-arranged", "target daemon", STAYS),
    ("source-noted", "source daemon", STAYS),
    ("source-frozen", "target daemon", STAYS),
    ("source-frozen", "source criu", STAYS),
    ("source-frozen", "line", STAYS),
    ("source-sent", "source daemon", STAYS),
    ("target-wanted", "target daemon", STAYS),
    ("target-received", "target daemon", STAYS),
    ("target-received", "line", STAYS),
    ("target-restored", "target daemon", STAYS),
    ("target-restored", "target criu", STAYS),
    ("target-restored", "source daemon", STAYS),
    ("target-prepared", "target criu", STAYS),
    ("source-before-decision", "source daemon", STAYS),
    ("source-before-decision", "target daemon", GOES),
    ("source-before-decision", "target criu", STAYS),
    ("source-before-decision", "line", GOES),
    ("source-decided", "source criu", GOES),
    ("source-decided", "target daemon", GOES),
    ("source-decided", "target criu", STAYS),
    ("source-decided", "line", GOES),
    ("source-ended", "source daemon", GOES),
    ("source-ended", "target daemon", GOES),
    ("source-said-commit", "source daemon", GOES),
    ("target-decided", "target daemon", GOES),
    ("target-decided", "source daemon", GOES),
    ("target-resumed", "target daemon", GOES),
    ("target-said-running", "target daemon", GOES),
    ("target-said-running", "line", GOES),
    ("source-before-conclusion", "source daemon", GOES),
]


@pytest.fixture(scope="module")
def address(world: World) -> Iterator[str]:
    yield world.guest(NAME)
    for host in world.hosts:
        if host.api.exists(f"/1.0/instances/{NAME}"):
            host.delete(NAME)


@pytest.mark.parametrize(("point", "victim", "expected"), CASES, ids=lambda value: value.replace(" ", "-"))
def test_one_copy_lives(world: World, address: str, point: str, victim: str, expected: str) -> None:
    _try(world, address, point, victim, expected)


@pytest.mark.skipif("HUTCH_EVERY_STEP" not in os.environ, reason="every single step: `make test-faults`")
@pytest.mark.parametrize(("point", "victim", "expected"), MORE, ids=lambda value: value.replace(" ", "-"))
def test_one_copy_lives_everywhere(world: World, address: str, point: str, victim: str, expected: str) -> None:
    _try(world, address, point, victim, expected)


def _try(world: World, address: str, point: str, victim: str, expected: str) -> None:
    (source,) = wait_until(lambda: world.running(NAME), 20)
    wait_until(lambda: _settled(world, source), 20)  # Also when the test before has failed.
    target = world.other(source)
    where = source if point.startswith("source") else target

    with world.talk(address) as seen:
        (where.faults / point).touch()
        world.begin(NAME, source)
        reached = where.faults / f"{point}.reached"
        wait_until(reached.exists, 60, what=f"{point} is reached\n{source.log_tail()}\n{target.log_tail()}")
        with _struck(world, source, target, victim):
            reached.unlink()
        winner = source if expected == STAYS else target
        wait_until(lambda: world.running(NAME) == [winner], 60, what=f"it {expected}\n{_logs(source, target)}")
        try:
            wait_until(lambda: world.alive(NAME) == [winner], 30, what="no process of it is left on the other host")
        except AssertionError as error:
            raise AssertionError(f"{error}: {world.describe(NAME)}") from error

    assert seen["wrong"] == "", _logs(source, target)
    assert seen["echoed"] == seen["sent"] > 0
    assert "new" in winner.exec(NAME, "systemd-run", "--quiet", "--wait", "--pipe", "echo", "new").stdout
    wait_until(lambda: _settled(world, winner), 60, what=f"nothing is left on the other host\n{_logs(source, target)}")


@contextlib.contextmanager
def _struck(world: World, source: Host, target: Host, victim: str) -> Iterator[None]:
    """Strike, let the daemon that has stopped go on in the block, and make whole again what was struck."""
    side, _, what = victim.partition(" ")
    host = source if side == "source" else target
    if victim == "line":
        rule = "add table inet cut; add chain inet cut in { type filter hook input priority 0; }; "
        rule += f"add rule inet cut in tcp dport {PORT} reject with tcp reset; "
        rule += "add chain inet cut out { type filter hook output priority 0; }; "
        rule += f"add rule inet cut out tcp sport {PORT} reject with tcp reset"
        source.run("nft", rule)
        yield
        time.sleep(2)  # Both have noticed.
        source.run("nft", "delete table inet cut")
    elif what == "daemon":
        host.kill9()
        yield
        host.start()
    else:
        pid = int((host.directory / "instances/default" / NAME / "hold/held").read_text())
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), 10)
        time.sleep(0.3)  # Its daemon has noticed.
        yield


def _settled(world: World, winner: Host) -> bool:
    """Whether the loser holds nothing any more, deleting it there as a client does that knows of the success."""
    loser = world.other(winner)
    if loser.api.exists(f"/1.0/instances/{NAME}"):
        with contextlib.suppress(ApiError):
            loser.call("DELETE", f"/1.0/instances/{NAME}")
        return False
    folder = loser.directory / "instances/default" / NAME
    return not folder.exists() and not _open_moves(winner) and not _open_moves(loser)


def _open_moves(host: Host) -> list[str]:
    database = f"file:{host.directory}/database/hutch.db?mode=ro"
    with contextlib.closing(sqlite3.connect(database, uri=True)) as db:
        return [key for (key,) in db.execute("SELECT key FROM entries WHERE key LIKE '/moves/%'")]


def _logs(*hosts: Host) -> str:
    return "\n----\n".join(host.log_tail(25) for host in hosts)
