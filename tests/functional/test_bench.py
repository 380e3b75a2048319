"""The benchmark runs to its end, prints its tables, and takes down what it made."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import needs_root

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_quick_run_measures_every_row() -> None:
    needs_root()
    before = set(Path("/var/tmp").glob("hutch-bench-*"))
    words = [sys.executable, "-m", "bench", "--quick"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    figures = [line for line in done.stdout.splitlines() if line.count("|") == 6 and "at most" not in line]
    measured = [line for line in figures if "not measured" not in line and "---" not in line]
    assert len(measured) == 7, done.stdout
    assert "| start busybox | " in done.stdout
    assert set(Path("/var/tmp").glob("hutch-bench-*")) == before


@pytest.mark.slow
def test_an_interrupted_run_leaves_nothing() -> None:
    """The session's check of what is left behind sees processes, mounts, links and control groups."""
    needs_root()
    before = set(Path("/var/tmp").glob("hutch-bench-*"))
    words = [sys.executable, "-m", "bench", "--quick"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if line.startswith("busybox"):
                run.terminate()
                break
        run.stderr.read()
        assert run.wait(60) == -signal.SIGINT
    assert set(Path("/var/tmp").glob("hutch-bench-*")) == before


@pytest.mark.slow
def test_a_quick_load_measures_every_row() -> None:
    needs_root()
    words = [sys.executable, "-m", "bench.load", "--quick"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) == 10, done.stdout
    assert all(line.split("|")[2].strip() not in ("", "0", "not measured") for line in rows), done.stdout
