"""Operations and events: order, cancel, progress, and what listeners are told."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hutch.errors import Forbidden, Invalid, NotFound
from hutch.work import operations as module
from hutch.work.events import Events, Requestor, requestor
from hutch.work.locks import Locks
from hutch.work.operations import Operation, Operations
from hutch.work.tasks import Tasks


@pytest.fixture
async def operations() -> AsyncIterator[Operations]:
    tasks = Tasks()
    yield Operations(Events(), tasks)
    await tasks.close()


async def test_listeners_see_an_operation_begin_and_end_in_order(operations: Operations) -> None:
    heard = operations.events.subscribe(["operation"], None)

    async def work(operation: Operation) -> None:
        operation.update(fs_progress="half")

    operation = operations.start("Testing", work, resources={"instances": ["/1.0/instances/c1"]})
    assert await operation.wait(5)
    seen: list[dict[str, Any]] = [heard.queue.get_nowait() or {} for _ in range(3)]
    assert [each["metadata"]["status"] for each in seen] == ["Running", "Running", "Success"]
    assert seen[1]["metadata"]["metadata"] == {"fs_progress": "half"}
    assert {each["metadata"]["id"] for each in seen} == {operation.id}


async def test_a_failure_is_kept_as_a_sentence(operations: Operations) -> None:
    async def work(operation: Operation) -> None:
        raise NotFound("no such thing")

    operation = operations.start("Testing", work)
    await operation.wait(5)
    document = operation.document()
    assert (document["status"], document["status_code"], document["err"]) == ("Failure", 400, "no such thing")


async def test_cancel_ends_the_work_and_only_where_it_may(operations: Operations) -> None:
    undone = asyncio.Event()

    async def work(operation: Operation) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            undone.set()

    fixed = operations.start("Testing", work)
    with pytest.raises(Invalid, match="can't be cancelled"):
        await fixed.cancel()
    loose = operations.start("Testing", work, may_cancel=True)
    await asyncio.sleep(0)
    await loose.cancel()
    assert undone.is_set()
    assert loose.document()["status_code"] == 401


async def test_an_ended_operation_is_readable_for_a_while(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 0.05)

    async def work(operation: Operation) -> None:
        return

    operation = operations.start("Testing", work)
    await operation.wait(5)
    assert operations.get(operation.id) is operation
    await asyncio.sleep(0.1)
    with pytest.raises(NotFound, match="Operation not found"):
        operations.get(operation.id)


class _Socket:
    async def receive(self) -> bytes | str | None:
        return None

    async def send(self, data: bytes | str) -> None: ...

    async def close(self) -> None: ...


async def test_a_secret_connects_one_websocket_once(operations: Operations) -> None:
    operation = operations.start("Testing", None, kind="websocket")
    secret = operation.socket("0")
    assert operation.document()["metadata"]["fds"] == {"0": secret}
    assert len(secret) == 64
    with pytest.raises(Forbidden):
        operation.connect("wrong", _Socket())
    operation.connect(secret, _Socket())
    with pytest.raises(Forbidden):
        operation.connect(secret, _Socket())


async def test_events_reach_those_who_asked_for_type_and_project() -> None:
    events = Events()
    everything, of_two = events.subscribe(["lifecycle"], None), events.subscribe(["lifecycle"], "two")
    token = requestor.set(Requestor("root", "unix", "@0"))
    events.lifecycle("instance-started", "/1.0/instances/c1", "one")
    events.lifecycle("instance-started", "/1.0/instances/c1?project=two", "two")
    requestor.reset(token)
    events.send("operation", {})
    assert everything.queue.qsize() == 2
    assert of_two.queue.qsize() == 1
    event = await of_two.get()
    assert event is not None
    assert event["project"] == "two"
    assert event["metadata"]["requestor"] == {"username": "root", "protocol": "unix", "address": "@0"}


async def test_a_listener_that_does_not_keep_up_is_cut_off_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hutch.work.events._BACKLOG", 3)
    events = Events()
    slow = events.subscribe(["operation"], None)
    for number in range(5):
        events.send("operation", {"number": number})
    assert await slow.get() is None
    assert not events.listens("operation")


async def test_locks_keep_two_apart_and_cannot_deadlock() -> None:
    locks, inside = Locks(), 0

    async def both(*names: str) -> None:
        nonlocal inside
        for _ in range(20):
            async with locks.hold(*names):
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                inside -= 1

    async with asyncio.timeout(5):
        await asyncio.gather(both("a", "b"), both("b", "a"), both("b", "a", "b"))
    assert not locks.held("a")
