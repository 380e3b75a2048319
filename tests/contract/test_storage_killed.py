"""Storage work killed at every point leaves whole volumes or none, after the next start."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["overlay", "overlay merging", "btrfs", "dir"])
def test_what_was_killed_is_whole_or_gone_after_the_next_start(kind: str, place: Path) -> None:
    program = [sys.executable, "-m", "tests.contract.killed", kind, str(place)]
    done = subprocess.run(program, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    points = [int(line.rpartition(" ")[2]) for line in done.stdout.splitlines()]
    assert len(points) == 10
    assert sum(points) > 100
