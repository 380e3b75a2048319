"""Websockets of the daemon: operations' streams and events. Loads aiohttp, so only commands that need it import this."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from hutch import errors
from hutch.client.connection import Client, reason

Socket = aiohttp.ClientWebSocketResponse
HEARTBEAT = 30.0


@asynccontextmanager
async def sockets(client: Client) -> AsyncIterator["Opener"]:
    """Opens websockets of the daemon that `client` talks to, all closed with the block."""
    connector: aiohttp.BaseConnector
    if client.remote is None:
        connector, base = aiohttp.UnixConnector(path=client.socket_path, limit=0), "http://hutch"
    else:
        connector, base = aiohttp.TCPConnector(ssl=client.remote.context(), limit=0), client.remote.address
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Opener(session, base)


class Opener:
    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session, self.base = session, base

    async def stream(self, operation: str, secret: str) -> Socket:
        """One stream of an operation."""
        return await self.open(f"{operation}/websocket?secret={secret}")

    async def open(self, path: str, *, heartbeat: float | None = None) -> Socket:
        try:
            return await self.session.ws_connect(f"{self.base}{path}", max_msg_size=0, heartbeat=heartbeat)
        except aiohttp.WSServerHandshakeError as error:
            raise errors.HutchError(
                f"the daemon refused the stream {path.split('?', maxsplit=1)[0]}: {error.message}"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise errors.Unavailable(
                f"cannot open the stream {path.split('?', maxsplit=1)[0]}: {reason(error)}"
            ) from error


def is_data(message: Any) -> bool:
    return bool(message.type is aiohttp.WSMsgType.BINARY)


def is_end(message: Any) -> bool:
    """The end of a stream is an empty text frame, or the close of the socket."""
    return message.type in (aiohttp.WSMsgType.TEXT, *CLOSED)


def is_closed(message: Any) -> bool:
    return message.type in CLOSED


CLOSED = (
    aiohttp.WSMsgType.CLOSE,
    aiohttp.WSMsgType.CLOSING,
    aiohttp.WSMsgType.CLOSED,
    aiohttp.WSMsgType.ERROR,
)
