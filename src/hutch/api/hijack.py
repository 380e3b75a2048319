"""A connection that stops being HTTP: after a 101 its bytes belong to another protocol."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

_LIMIT = 1 << 20


@asynccontextmanager
async def hijacked(
    http: web.Request, protocol: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """The connection as streams; it is closed at the end. What the handler answers then goes nowhere."""
    transport, server = http.transport, http.protocol
    if transport is None:
        raise ConnectionResetError("the client has gone")
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LIMIT, loop=loop)
    streams = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport.write(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n\r\n".encode())
    transport.set_protocol(streams)
    streams.connection_made(transport)
    if not transport.is_reading():
        transport.resume_reading()
    writer = asyncio.StreamWriter(transport, streams, reader, loop)
    try:
        yield reader, writer
    finally:
        transport.close()
        # The server must forget the connection, whose end it is not told any more.
        server.connection_lost(None)
