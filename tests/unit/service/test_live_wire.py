import asyncio
import os
import time
from pathlib import Path

import pytest

from hutch.errors import Invalid
from hutch.kernel import changes
from hutch.kernel.changes import Seen
from hutch.schema.move import Pass
from hutch.service.migration import live_wire


class Pipe:
    """One direction of a websocket, in memory."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | str | None] = asyncio.Queue()

    async def receive(self) -> bytes | str | None:
        return await self._queue.get()

    async def send(self, data: bytes | str) -> None:
        self._queue.put_nowait(data)

    async def close(self) -> None:
        self._queue.put_nowait(None)


def _ignored(size: int) -> None:
    pass


async def test_image_files_arrive(tmp_path: Path) -> None:
    source, target, pipe = tmp_path / "a", tmp_path / "b", Pipe()
    source.mkdir()
    target.mkdir()
    (source / "pages-1.img").write_bytes(os.urandom(3_000_000))
    (source / "empty.img").touch()

    await asyncio.gather(live_wire.send_files(pipe, source, _ignored), live_wire.receive_files(pipe, target, _ignored))

    assert {path.name: path.read_bytes() for path in target.iterdir()} == {
        path.name: path.read_bytes() for path in source.iterdir()
    }


@pytest.mark.parametrize("name", ["../out", "a/b", ".hidden"])
async def test_an_image_file_with_a_path_is_refused(tmp_path: Path, name: str) -> None:
    pipe = Pipe()
    await pipe.send(name)
    with pytest.raises(Invalid, match="no name of an image file"):
        await live_wire.receive_files(pipe, tmp_path, _ignored)


async def test_a_pass_keeps_to_its_limit_and_is_for_a_tree_that_was_asked_for(tmp_path: Path) -> None:
    source, target, pipe = tmp_path / "a", tmp_path / "b", Pipe()
    source.mkdir()
    target.mkdir()
    (source / "file").write_bytes(bytes(range(256)) * 4096)
    root = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    seen = await asyncio.to_thread(changes.look, root)

    began = time.monotonic()
    await live_wire.send_pass(pipe, Pass("top", 0), root, changes.since(Seen(), seen), _ignored, limit=4 << 20)
    took = time.monotonic() - began
    await live_wire.receive_pass(pipe, {"top": target}, _ignored)

    assert took >= 0.2
    assert (target / "file").read_bytes() == (source / "file").read_bytes()
    await live_wire.send_pass(pipe, Pass("other", 0), root, changes.since(seen, seen), _ignored)
    with pytest.raises(Invalid, match="was not asked for"):
        await live_wire.receive_pass(pipe, {"top": target}, _ignored)
    os.close(root)
