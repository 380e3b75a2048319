"""The folder that holds everything of one test run, and the marks by which what is left of it is told from other runs'."""

import os
import shutil
import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path

_marks: set[str] = set()


@cache
def folder() -> Path:
    """/tmp/hutch-test-PID-XXXX; others may pass through it, for dnsmasq does not run as root."""
    made = Path(tempfile.mkdtemp(prefix=f"hutch-test-{os.getpid()}-", dir=os.environ.get("HUTCH_TEST_DIR", "/tmp")))
    made.chmod(0o711)
    _marks.add(str(made))
    return made


def identity(directory: Path) -> str:
    """What the control groups of the daemon in `directory` are called."""
    name = identity_of(directory)
    _marks.add(name)
    return name


def identity_of(directory: Path) -> str:
    return f"hutch-{sha256(str(directory).encode()).hexdigest()[:8]}"


def marks() -> frozenset[str]:
    return frozenset(_marks)


def remove_tree(path: Path) -> None:
    """Delete a folder unless something is mounted in it."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    inside = [point for point in mounted if point == str(path) or point.startswith(f"{path}/")]
    if inside:
        raise AssertionError(f"{path} is not deleted: there are mounts in it: {', '.join(inside)}")
    shutil.rmtree(path)
    # liblxc keeps its locks below a copy of the guest's path, whose upper folders a daemon leaves.
    shutil.rmtree(Path("/run/lxc/lock", path.relative_to("/")), ignore_errors=True)
