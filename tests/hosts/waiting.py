"""Waiting for something outside to become true."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

PATIENCE = float(os.environ.get("HUTCH_TEST_PATIENCE", "1"))
"""How many times longer than on an ordinary machine may be waited: an emulated one is slow."""


def wait_until(question: Callable[[], Value], timeout: float = 10.0, every: float = 0.02, what: str = "") -> Value:
    """The first true answer; AssertionError with the last one when none came in `timeout` seconds."""
    end = time.monotonic() + timeout * PATIENCE
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not so after {timeout} s: {what or question}; the last answer was {answer!r}")
        time.sleep(every)
