"""The measure of the event loop."""

import asyncio
import time

from hutch.work.stalls import Selector


def run(seconds: float) -> Selector:
    """A loop in which one callback takes so long, between waits."""
    selector = Selector()

    async def work() -> None:
        await asyncio.sleep(0.01)
        time.sleep(seconds)  # noqa: ASYNC251 (this is what is measured)
        await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(work())
    return selector


def test_a_callback_that_blocks_is_seen_with_its_length() -> None:
    found = run(0.05)
    assert 0.05 <= found.longest < 1
    assert found.buckets()["+Inf"] - found.buckets()["0.02"] >= 1


def test_waiting_is_no_work() -> None:
    found = run(0)
    assert found.total < 0.01
    assert found.buckets()["+Inf"] == sum(found.counts) > 0
