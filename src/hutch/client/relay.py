"""Carries the websockets of a transfer between two servers that do not reach one another."""

import asyncio
from collections.abc import Mapping

import aiohttp

from hutch.client.connection import Client
from hutch.client.websocket import Socket, sockets


async def relay(
    source: Client, sending: str, outgoing: Mapping[str, str], sink: Client, receiving: str, incoming: Mapping[str, str]
) -> None:
    """Join each websocket of the operation `sending` with the one of that name of `receiving`, until they have ended.

    The maps hold the secrets by name.
    """
    async with sockets(source) as here, sockets(sink) as there:
        pairs = [
            (await here.stream(sending, secret), await there.stream(receiving, incoming[name]))
            for name, secret in outgoing.items()
            if name in incoming
        ]
        await asyncio.gather(*(way for one, other in pairs for way in (_carry(one, other), _carry(other, one))))


async def _carry(reader: Socket, writer: Socket) -> None:
    try:
        async for message in reader:
            if message.type is aiohttp.WSMsgType.BINARY:
                await writer.send_bytes(message.data)
            elif message.type is aiohttp.WSMsgType.TEXT:
                await writer.send_str(message.data)
    except (ConnectionError, RuntimeError):
        pass
    finally:
        await writer.close()
