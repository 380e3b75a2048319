"""What a daemon costs while nobody asks it for anything."""

import time
from pathlib import Path


def memory(pid: int) -> tuple[float, float]:
    """RSS and PSS of a process in MiB."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, _, value = line.partition(":")
        found[key] = int(value.split()[0]) / 1024
    return found["Rss"], found["Pss"]


def processor(pids: list[int], seconds: float) -> list[float]:
    """The share of one processor, in per cent, that each process used over so many seconds."""
    before, start = [_used(pid) for pid in pids], time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - start
    return [(_used(pid) - old) / 1e9 / passed * 100 for pid, old in zip(pids, before, strict=True)]


def _used(pid: int) -> int:
    """Nanoseconds on a processor, of all threads."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())
