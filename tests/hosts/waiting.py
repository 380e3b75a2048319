"""Waiting for something outside to become true."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(question: Callable[[], Value], timeout: float = 10.0, every: float = 0.02, what: str = "") -> Value:
    """The first true answer; AssertionError with the last one when none came in `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not so after {timeout} s: {what or question}; the last answer was {answer!r}")
        time.sleep(every)
