"""Locks by name."""

import asyncio

from hutch.work.locks import Locks


async def test_a_holder_learns_that_others_wait() -> None:
    locks, order = Locks(), []

    async def second() -> None:
        async with locks.hold("a"):
            order.append("second")

    async with locks.hold("a"):
        wanted = asyncio.ensure_future(locks.wanted("a"))
        await asyncio.sleep(0)
        assert not wanted.done()
        waiting = asyncio.ensure_future(second())
        await asyncio.wait_for(wanted, 1)
        order.append("first")
    await waiting
    assert order == ["first", "second"]
    assert not locks.held("a")


async def test_who_gives_up_waiting_is_not_waited_for() -> None:
    locks = Locks()
    async with locks.hold("a"):
        waiting = asyncio.ensure_future(_take(locks))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        wanted = asyncio.ensure_future(locks.wanted("a"))
        await asyncio.sleep(0.01)
        assert not wanted.done()
        wanted.cancel()
    assert not locks.held("a")


async def _take(locks: Locks) -> None:
    async with locks.hold("a"):
        pass
