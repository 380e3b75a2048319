"""What was measured: for each row and each subject the samples in the order they were taken."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median


class Samples:
    def __init__(self) -> None:
        self.values: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.silent = False
        """Set while a round only warms caches: its samples are dropped."""

    @contextmanager
    def time(self, row: str, subject: str) -> Iterator[None]:
        """Adds the milliseconds that the block takes."""
        start = time.perf_counter()
        yield
        self.add(row, subject, (time.perf_counter() - start) * 1000)

    def add(self, row: str, subject: str, value: float) -> None:
        if not self.silent:
            self.values[row, subject].append(value)

    def of(self, row: str, subject: str) -> list[float]:
        return self.values.get((row, subject), [])

    def median(self, row: str, subject: str) -> float | None:
        values = self.of(row, subject)
        return median(values) if values else None

    def ratio(self, row: str, subject: str, to_row: str, to_subject: str) -> float | None:
        above, below = self.median(row, subject), self.median(to_row, to_subject)
        return above / below if above is not None and below else None
