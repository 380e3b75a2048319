"""Streams of a pool's own form over a websocket: bytes up to an empty text frame."""

import asyncio
from collections.abc import AsyncIterator

from hutch.errors import Unavailable
from hutch.service.migration.rsync import Told
from hutch.work.operations import Socket

_BLOCK = 1 << 18


async def send(socket: Socket, reader: asyncio.StreamReader, told: Told) -> None:
    count = 0
    try:
        while block := await reader.read(_BLOCK):
            await socket.send(block)
            count += len(block)
            told(count)
        await socket.send("")
    except (ConnectionError, RuntimeError) as error:
        raise Unavailable("the other server went away in the middle of the transfer") from error


async def receive(socket: Socket, told: Told) -> AsyncIterator[bytes]:
    count = 0
    while isinstance(data := await socket.receive(), bytes):
        count += len(data)
        told(count)
        yield data
    if data is None:
        raise Unavailable("the other server went away in the middle of the transfer")
