"""The lxc driver's small parts: the reason in a log, the signals of inits, records."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hutch.runtime.lxc import log, record, signals

_AT = "20261123223055.521"
LOG = f"""lxc-start a {_AT} WARN     conf - ../src/lxc/conf.c:lxc_map_ids:3628 - newuidmap binary is missing
lxc-start a {_AT} ERROR    start - ../src/lxc/start.c:start:2197 - No such file or directory - Failed to exec "/sbin/nope"
lxc-start a {_AT} ERROR    sync - ../src/lxc/sync.c:sync_wait:34 - An error occurred in another process
lxc-start a {_AT} ERROR    lxccontainer - ../src/lxc/x.c:wait:878 - Received container state "ABORTING" instead of "RUNNING"
"""


def test_the_first_error_is_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert log.reason(path) == ""
    path.write_text(LOG)
    assert log.reason(path) == 'No such file or directory - Failed to exec "/sbin/nope"'
    path.write_text(LOG.splitlines()[-1])
    assert "ABORTING" in log.reason(path), "better than nothing"


Program = Callable[[str], int]


@pytest.fixture
def program() -> Iterator[Program]:
    """Runs Python code and answers its pid when it has said that it is ready."""
    running = []

    def run(code: str) -> int:
        code = f"import signal, time\n{code}\nprint('ready', flush=True)\ntime.sleep(60)"
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process.pid

    yield run
    for process in running:
        process.kill()
        process.communicate()


def test_systemd_blocks_the_signal_that_halts_it(program: Program) -> None:
    pid = program("signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())")
    assert signals.poweroff(pid) == (signal.SIGRTMIN + 3, True)
    assert signals.reboot(pid) == (signal.SIGRTMIN + 5, True)


def test_sysvinit_catches_the_power_failure(program: Program) -> None:
    pid = program("signal.signal(signal.SIGPWR, lambda *_: None)")
    assert signals.poweroff(pid) == (signal.SIGPWR, True)
    assert signals.reboot(pid)[0] == signal.SIGINT


def test_any_other_init_is_terminated_and_may_not_listen(program: Program) -> None:
    assert signals.poweroff(program("")) == (signal.SIGTERM, False)


def test_records_survive_and_broken_ones_are_nothing(tmp_path: Path) -> None:
    kept = record.Record(record.boot_id(), 1, 2, 3, 4)
    record.write(tmp_path, kept)
    assert record.read(tmp_path) == kept
    (tmp_path / record.FILE).write_text("{")
    assert record.read(tmp_path) is None
    record.remove(tmp_path)
    assert record.read(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
