"""Websockets to the operations of other servers: over TLS with the certificate that the client names, or a Unix socket."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import aiohttp

from hutch.errors import Forbidden, Invalid, Unavailable
from hutch.schema.migration import Target
from hutch.service.migration import channel
from hutch.service.migration.channel import Channel
from hutch.service.parts import Parts
from hutch.work.events import requestor
from hutch.work.operations import Operation, Socket

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10)
_UNACKNOWLEDGED = 30_000
_FAREWELL = 1.0


class Outgoing:
    """A work.operations.Socket over a websocket that this server opened."""

    def __init__(self, http: aiohttp.ClientWebSocketResponse) -> None:
        self.http = http

    async def receive(self) -> bytes | str | None:
        if self.http.closed:
            return None
        message = await self.http.receive()
        if message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
            return message.data  # type: ignore[no-any-return]
        return None

    async def send(self, data: bytes | str) -> None:
        if isinstance(data, str):
            await self.http.send_str(data)
        else:
            await self.http.send_bytes(data)

    async def close(self) -> None:
        await self.http.close()


def named(operation: str, secrets: Mapping[str, str] | None, certificate: str) -> Target:
    """The operation of another server that a request names."""
    return Target(operation=operation, secrets=dict(secrets or {}), certificate=certificate)


@asynccontextmanager
async def line(
    parts: Parts, operation: Operation, expected: dict[str, str], target: Target | None, *, live: bool
) -> AsyncIterator[Channel]:
    """The channel of a migration: to the operation that the target names, or of who connects to the websockets expected here."""
    if target is None:
        async with channel.awaited(parts, operation, expected) as found:
            yield found
        return
    secrets = {name: target.secrets.get(name, "") for name in channel.names(live=live)}
    async with sockets(parts, target.operation, secrets, target.certificate) as opened:
        yield Channel(opened)


@asynccontextmanager
async def sockets(
    parts: Parts, operation: str, secrets: Mapping[str, str], certificate: str
) -> AsyncIterator[dict[str, Socket]]:
    """Each of the operation's websockets by its name, closed at the end.

    `operation` is https://HOST:PORT/1.0/operations/ID, or unix:///PATH/1.0/operations/ID; `certificate` (PEM) is the
    one that the server must show, and any that the host's authorities signed will do when it is empty.
    """
    base, connector = await way(parts, operation, certificate)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
        opened: dict[str, Socket] = {}
        try:
            for name, secret in secrets.items():
                opened[name] = await _open(session, f"{base}/websocket?{urlencode({'secret': secret})}")
            yield opened
        finally:
            for each in opened.values():
                await each.close()


async def way(parts: Parts, operation: str, certificate: str) -> tuple[str, aiohttp.BaseConnector]:
    url = urlsplit(operation)
    path = url.path[url.path.rfind("/1.0/operations/") :] if "/1.0/operations/" in url.path else ""
    if not path or url.scheme not in ("https", "unix"):
        raise Invalid(
            f"the operation {operation!r} is no address of one: https://HOST:PORT/1.0/operations/ID is expected"
        )
    if url.scheme == "unix":
        if (who := requestor.get()) is None or who.protocol != "unix":
            raise Forbidden("a Unix socket of this host can be named by its own users only")
        return f"http://unix{path}", aiohttp.UnixConnector(url.path.removesuffix(path))
    trust = await asyncio.to_thread(_trust, parts.directory, certificate)
    return f"https://{url.netloc}{path}", aiohttp.TCPConnector(ssl=trust)


def _trust(directory: Path, certificate: str) -> ssl.SSLContext:
    """TLS that shows this server's certificate and accepts the named one and no other, whatever name is in it."""
    if not certificate:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags = ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=certificate)
        except (ssl.SSLError, ValueError) as error:
            raise Invalid(f"the other server's certificate is no PEM: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    return context


async def _open(session: aiohttp.ClientSession, url: str) -> Socket:
    where = urlsplit(url).netloc
    try:
        http = await session.ws_connect(
            url, max_msg_size=0, compress=0, timeout=aiohttp.ClientWSTimeout(ws_close=_FAREWELL)
        )
    except aiohttp.WSServerHandshakeError as error:
        raise Unavailable(f"{where} does not open the stream of its migration: status {error.status}") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable(f"{where} cannot be reached from here: {error or 'no answer'}") from error
    _notice_silence(http)
    return Outgoing(http)


def _notice_silence(http: aiohttp.ClientWebSocketResponse) -> None:
    """A host that went away without a word is noticed within half a minute, whether or not something is sent to it."""
    peer = http.get_extra_info("socket")
    if peer is None or peer.family not in (socket.AF_INET, socket.AF_INET6):
        return
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4)):
        peer.setsockopt(socket.IPPROTO_TCP, option, value)
