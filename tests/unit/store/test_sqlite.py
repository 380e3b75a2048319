"""The store's promises: all or nothing, compare-and-swap, order, durability over kill -9."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hutch.errors import Unsupported
from hutch.store.base import Change, Changed
from hutch.store.sqlite import Damaged, SqliteStore


async def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    await store.commit(put={"/a/1": b"one", "/a/2": b"two", "/b/1": b"three"})
    await store.commit(delete=["/a/2"])
    await store.close()

    store = await SqliteStore.open(tmp_path / "db")
    assert [(entry.key, entry.value, entry.revision) for entry in await store.range("/")] == [
        ("/a/1", b"one", 1),
        ("/b/1", b"three", 1),
    ]
    assert await store.commit(put={"/c": b""}) == 3
    await store.close()


async def test_a_commit_that_compares_an_old_revision_changes_nothing(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    first = await store.commit(put={"/a": b"1"})
    await store.commit(compare={"/a": first}, put={"/a": b"2"})
    with pytest.raises(Changed, match="/a"):
        await store.commit(compare={"/a": first}, put={"/a": b"3", "/b": b"3"})
    with pytest.raises(Changed):
        await store.commit(compare={"/a": 0}, put={"/b": b"3"})
    assert [entry.value for entry in await store.range("/")] == [b"2"]
    await store.close()


async def test_two_writers_lose_no_increment(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    await store.commit(put={"/n": b"0"})

    async def count() -> None:
        done = 0
        while done < 50:
            entry = await store.get("/n")
            assert entry is not None
            try:
                await store.commit(compare={"/n": entry.revision}, put={"/n": str(int(entry.value) + 1).encode()})
            except Changed:
                continue
            done += 1

    await asyncio.gather(count(), count(), count())
    entry = await store.get("/n")
    assert entry is not None
    assert entry.value == b"150"
    await store.close()


async def test_a_watch_sees_every_change_below_its_prefix_in_order(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    await store.commit(put={"/a/0": b"before"})
    seen: list[Change] = []

    async def listen() -> None:
        async for change in store.watch("/a/", since=0):
            seen.append(change)

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    for number in range(1, 5):
        await store.commit(put={f"/a/{number}": b"x", f"/b/{number}": b"y"})
    await store.commit(delete=["/a/2"])
    await store.close()
    await task
    assert [change.key for change in seen] == ["/a/0", "/a/1", "/a/2", "/a/3", "/a/4", "/a/2"]
    assert seen[-1].value is None
    assert [change.revision for change in seen] == sorted(change.revision for change in seen)


async def test_a_file_that_is_no_database_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(os.urandom(8192))
    with pytest.raises(Damaged, match="admin recover"):
        await SqliteStore.open(tmp_path / "db")


async def test_a_database_of_a_newer_hutch_is_refused(tmp_path: Path) -> None:
    await (await SqliteStore.open(tmp_path / "db")).close()
    with sqlite3.connect(tmp_path / "db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(Unsupported, match="newer hutch"):
        await SqliteStore.open(tmp_path / "db")


_WRITER = """
import asyncio, sys
from pathlib import Path
from hutch.store.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    for number in range(100_000):
        await store.commit(put={"/left": str(number).encode(), "/right": str(number).encode()})
        print(number, flush=True)

asyncio.run(main())
"""


def _write_until_killed(path: Path) -> int:
    """Run a writer in a process of its own and kill it; the last number it knew to be stored."""
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(40):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        return max([acknowledged, *map(int, writer.stdout.read().split())])


async def test_a_killed_writer_leaves_whole_commits_and_all_that_it_acknowledged(tmp_path: Path) -> None:
    acknowledged = await asyncio.to_thread(_write_until_killed, tmp_path / "db")
    store = await SqliteStore.open(tmp_path / "db")
    left, right = await store.get("/left"), await store.get("/right")
    assert left is not None
    assert right is not None
    assert left.value == right.value
    assert int(left.value) >= acknowledged
    await store.close()


_keys = st.sampled_from(["/a", "/a/b", "/a/c", "/ab", "/b"])
_steps = st.lists(st.tuples(_keys, st.one_of(st.none(), st.binary(max_size=4))), max_size=30)


@given(steps=_steps)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_the_mirror_is_what_the_file_holds(tmp_path_factory: pytest.TempPathFactory, steps: object) -> None:
    path = tmp_path_factory.mktemp("store") / "db"
    store, model = await SqliteStore.open(path), {}
    for key, value in steps:  # type: ignore[attr-defined]
        if value is None:
            await store.commit(delete=[key])
            model.pop(key, None)
        else:
            await store.commit(put={key: value})
            model[key] = value
    for prefix in ("/", "/a", "/a/"):
        expected = sorted((key, value) for key, value in model.items() if key.startswith(prefix))
        assert [(entry.key, entry.value) for entry in await store.range(prefix)] == expected
    await store.close()
    again = await SqliteStore.open(path)
    assert {entry.key: entry.value for entry in await again.range("/")} == model
    await again.close()
