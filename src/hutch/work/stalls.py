"""How long the event loop was kept from its work: the time between two waits, one callback after another."""

import selectors
import time
from collections.abc import Mapping

BOUNDS = (0.001, 0.005, 0.02, 0.1, 1.0)
"""Seconds; upper bounds of the buckets that `Selector.counts` has, and one more for what is longer."""


class Selector(selectors.EpollSelector):
    """The selector of an event loop, which measures the loop while it does not wait.

    `counts` are rounds by length (one more than BOUNDS), `longest` is in seconds, `total` all seconds that the loop worked.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts = [0] * (len(BOUNDS) + 1)
        self.longest = self.total = 0.0
        self._woken = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._woken:
            self._took(time.monotonic() - self._woken)
        try:
            return super().select(timeout)
        finally:
            self._woken = time.monotonic()

    def _took(self, seconds: float) -> None:
        self.total += seconds
        self.longest = max(self.longest, seconds)
        for index, bound in enumerate(BOUNDS):
            if seconds <= bound:
                self.counts[index] += 1
                return
        self.counts[-1] += 1

    def buckets(self) -> Mapping[str, int]:
        """Rounds that took at most so many seconds, by the text of the bound, as Prometheus's histograms count them."""
        found, sum_ = {}, 0
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], self.counts, strict=True):
            sum_ += count
            found[bound] = sum_
        return found
