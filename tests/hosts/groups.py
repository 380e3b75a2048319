"""Control groups by name, wherever they are in any hierarchy."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def groups_named(name: str) -> Iterator[Path]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[words.index("-") + 1] in ("cgroup", "cgroup2"):
            for folder, names, _ in os.walk(words[4]):
                if name in names:
                    names.remove(name)
                    yield Path(folder, name)


def groups_beginning(*prefixes: str) -> set[Path]:
    """The topmost ones whose names begin so."""
    found: set[Path] = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[words.index("-") + 1] in ("cgroup", "cgroup2"):
            for folder, names, _ in os.walk(words[4]):
                found |= {Path(folder, name) for name in names if name.startswith(prefixes)}
                names[:] = [name for name in names if not name.startswith(prefixes)]
    return found


def removed(tops: Iterable[Path]) -> bool:
    """Remove them with all that is below; whether none is left, which is not so while processes are in one."""
    for top in tops:
        for path, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(path).rmdir()
    return not any(top.exists() for top in tops)
