"""Pipes and terminals in the event loop."""

import asyncio
import os

from hutch.kernel import pipes


async def test_what_goes_in_comes_out_though_it_is_more_than_fits() -> None:
    read, write = pipes.pipe(ours=0, wide=True)
    os.set_blocking(write, False)
    data = os.urandom(5 << 20)

    async def fill() -> None:
        assert await pipes.write(write, data)
        os.close(write)

    filling = asyncio.ensure_future(fill())
    found = b""
    while block := await pipes.read(read, 1 << 18):
        found += block
    await filling
    os.close(read)
    assert found == data


async def test_writing_to_nobody_is_told() -> None:
    read, write = pipes.pipe(ours=1)
    os.close(read)
    assert await pipes.write(write, b"x") is False
    os.close(write)


async def test_a_terminal_ends_when_all_have_hung_up() -> None:
    master, slave = os.openpty()
    os.set_blocking(master, False)
    os.write(slave, b"bye")
    reading = asyncio.ensure_future(pipes.read(master, 100))
    assert await reading == b"bye"
    os.close(slave)
    assert await pipes.read(master, 100) == b""
    os.close(master)


async def test_a_waiting_reader_can_be_cancelled() -> None:
    read, write = pipes.pipe(ours=0)
    reading = asyncio.ensure_future(pipes.read(read, 100))
    await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    os.write(write, b"later")
    assert await pipes.read(read, 100) == b"later"
    os.close(read)
    os.close(write)
