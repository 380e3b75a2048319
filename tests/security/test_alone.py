"""Programs that walk trees see those trees and nothing else of the host's."""

import os
import subprocess
import sys
from pathlib import Path

from hutch.helper import confine
from hutch.kernel import mount
from tests.conftest import needs_root


def alone(trees: dict[str, Path], *command: str) -> subprocess.CompletedProcess[str]:
    opened = {name: mount.open_tree(path) for name, path in trees.items()}
    words = [f"{name}={descriptor}" for name, descriptor in opened.items()]
    try:
        argv = [sys.executable, "-I", "-m", "hutch.helper.alone", *words, "--", *command]
        return subprocess.run(argv, pass_fds=list(opened.values()), capture_output=True, text=True, check=False)
    finally:
        for descriptor in opened.values():
            os.close(descriptor)


def test_nothing_of_the_host_is_in_sight(tmp_path: Path) -> None:
    needs_root()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    trees = {"source": tmp_path / "one", "target": tmp_path / "two"}

    seen = alone(trees, "/usr/bin/find", "/", "-path", "/usr", "-prune", "-o", "-print")
    where = alone(
        trees, "/usr/bin/sh", "-c", "/usr/bin/pwd -P; cd ../../..; /usr/bin/pwd -P; ls -d /proc/self; touch /usr/x"
    )

    found = set(seen.stdout.split()) - {f"/{name}" for name in confine.SYSTEM}
    assert found == {"/", "/source", "/source/one", "/target", "/target/two"}
    assert where.stdout.split() == ["/source", "/"]
    assert "No such file" in where.stderr
    assert "Read-only file system" in where.stderr
