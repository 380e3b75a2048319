"""The thread of one request."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from hutch.kernel.idmap import IdMap, default, from_host, has_host, of_process, to_host
from hutch.kernel.worker import Worker


async def test_calls_run_one_after_the_other_in_one_thread() -> None:
    worker, seen = Worker("test"), []
    await asyncio.gather(*(worker.call(seen.append, number) for number in range(100)))
    assert seen == list(range(100))
    assert await worker.call(threading.get_ident) == await worker.call(threading.get_ident) != threading.get_ident()
    worker.finish()


async def test_an_error_is_the_callers() -> None:
    worker = Worker("test")
    with pytest.raises(ZeroDivisionError):
        await worker.call(lambda: 1 // 0)
    assert await worker.call(lambda: 7) == 7
    worker.finish()


async def test_a_cancelled_caller_leaves_the_work_whole() -> None:
    worker, begun, finish, done = Worker("test"), threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        finish.wait(5)
        done.append("whole")

    task = asyncio.ensure_future(worker.call(work))
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    worker.later(lambda: done.append("closed"))
    worker.finish()
    finish.set()
    for _ in range(100):
        if len(done) == 2:
            break
        await asyncio.sleep(0.01)
    assert done == ["whole", "closed"]


@pytest.mark.root
async def test_what_it_makes_belongs_to_the_guests_root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    worker = Worker("test", default())
    await worker.call((tmp_path / "made").touch)
    assert (tmp_path / "made").stat().st_uid == 1_000_000
    assert (await asyncio.to_thread(tmp_path.stat)).st_uid == 0
    worker.finish()


def test_ids_go_both_ways() -> None:
    idmap = [IdMap("u", 0, 1000, 10), IdMap("u", 10, 5000, 5), IdMap("g", 0, 2000, 10)]
    for inside in (0, 9, 10, 14):
        assert from_host(idmap, "u", to_host(idmap, "u", inside) or 0) == inside
    assert to_host(idmap, "u", 15) is None
    assert from_host(idmap, "u", 0) == 65534
    assert not has_host(idmap, "u", 0)
    assert has_host(default(), "u", 1_065_534)
    assert from_host(idmap, "g", 2003) == 3
    assert from_host([], "u", 77) == 77


def test_the_hosts_own_map_is_none_at_all() -> None:
    assert of_process(os.getpid()) == []
