"""Control groups by name, wherever they are in any hierarchy."""

import os
from collections.abc import Iterator
from pathlib import Path


def groups_named(name: str) -> Iterator[Path]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[words.index("-") + 1] in ("cgroup", "cgroup2"):
            for folder, names, _ in os.walk(words[4]):
                if name in names:
                    names.remove(name)
                    yield Path(folder, name)
