"""Which disk of the machine a path is on."""

import os
from pathlib import Path


def of(path: Path) -> str:
    """MAJOR:MINOR of the whole disk, which is what control groups throttle; empty for what is on none. Blocks."""
    number = os.stat(path).st_dev  # noqa: PTH116
    if os.major(number) == 0:
        source = _source(f"{os.major(number)}:{os.minor(number)}")
        if not source.startswith("/dev/"):
            return ""
        number = os.stat(source).st_rdev  # noqa: PTH116
    folder = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    if (folder / "partition").exists():
        folder = folder.parent
    file = folder / "dev"
    return file.read_text().strip() if file.exists() else ""


def _source(device: str) -> str:
    """What is mounted under an anonymous device number, as btrfs has them."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[2] == device:
            return words[words.index("-") + 2]
    return ""
