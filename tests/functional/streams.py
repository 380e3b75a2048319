"""Exec and console operations with their websockets, as the API's clients open them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from tests.hosts import Host


class Streams:
    """One operation with its connected sockets by name."""

    def __init__(self, session: aiohttp.ClientSession, operation: dict[str, Any]) -> None:
        self.session, self.operation = session, operation
        self.secrets: dict[str, str] = operation["metadata"]["fds"]
        self.sockets: dict[str, aiohttp.ClientWebSocketResponse] = {}

    async def connect(self, *names: str) -> None:
        # Control first, as clients do: a short command may be over once the others are there.
        for name in names or sorted(self.secrets, reverse=True):
            url = f"http://hutch/1.0/operations/{self.operation['id']}/websocket?secret={self.secrets[name]}"
            self.sockets[name] = await self.session.ws_connect(url, max_msg_size=0)

    async def send(self, data: bytes) -> None:
        await self.sockets["0"].send_bytes(data)

    async def end_input(self) -> None:
        await self.sockets["0"].send_str("")

    async def control(self, **message: Any) -> None:
        await self.sockets["control"].send_str(json.dumps(message))

    async def read(self, name: str) -> bytes:
        """Everything until the mark of the end; fails when the connection ends without it."""
        return b"".join([block async for block in self.blocks(name)])

    async def blocks(self, name: str) -> AsyncIterator[bytes]:
        while True:
            message = await self.sockets[name].receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                assert message.data == ""
                return
            assert message.type is aiohttp.WSMsgType.BINARY, message
            yield message.data

    async def read_until(self, name: str, text: bytes, timeout: float = 10) -> bytes:
        seen = b""
        async with asyncio.timeout(timeout):
            while text not in seen:
                message = await self.sockets[name].receive()
                assert message.type is aiohttp.WSMsgType.BINARY, (message, seen)
                seen += message.data
        return seen

    async def wait(self, timeout: float = 30) -> dict[str, Any]:
        """The operation's document at its end."""
        url = f"http://hutch/1.0/operations/{self.operation['id']}/wait?timeout={timeout}"
        async with self.session.get(url) as answer:
            document: dict[str, Any] = (await answer.json())["metadata"]
        assert document["status_code"] >= 200, document
        return document

    async def code(self) -> int:
        document = await self.wait()
        assert document["status"] == "Success", document
        code: int = document["metadata"]["return"]
        return code


@contextlib.asynccontextmanager
async def connected(host: Host) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(host.directory / "unix.socket"), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


@contextlib.asynccontextmanager
async def begun(host: Host, path: str, body: dict[str, Any], *sockets: str) -> AsyncIterator[Streams]:
    """POST the body, connect the sockets (all of them when none is named)."""
    async with connected(host) as session:
        async with session.post(f"http://hutch{path}", json=body) as answer:
            document = await answer.json()
        assert answer.status == 202, document
        streams = Streams(session, document["metadata"])
        await streams.connect(*sockets)
        yield streams


def executed(host: Host, name: str, *command: str, sockets: tuple[str, ...] = (), **more: Any) -> Any:
    body = {"command": list(command), "wait-for-websocket": True, "interactive": False, **more}
    return begun(host, f"/1.0/instances/{name}/exec", body, *sockets)
