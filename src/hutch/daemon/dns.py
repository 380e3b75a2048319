"""Serves the zones of networks to other name servers: transfers by TCP, and the SOA that says whether one is due."""

import asyncio
import contextlib
import logging
import struct
from ipaddress import ip_address
from typing import cast

from hutch.errors import Invalid
from hutch.network import dns
from hutch.schema.keys import zone as keys
from hutch.schema.zone import ZoneRecord
from hutch.service import server, zones
from hutch.service.parts import Parts

log = logging.getLogger(__name__)

PORT, _PATIENCE = 53, 10.0


class Dns:
    """Listens where `core.dns_address` says. Whoever is no peer of a zone is refused."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._streams: asyncio.Server | None = None
        self._datagrams: asyncio.DatagramTransport | None = None

    async def listen(self, address: str) -> None:
        """Move to another address, or stop for an empty one. Invalid when it cannot be listened on."""
        await self.close()
        if not address:
            return
        host, port = server.split_address(address, PORT)
        try:
            self._streams = await asyncio.start_server(self._stream, host or None, port)
            loop = asyncio.get_running_loop()
            self._datagrams, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=(host or "::", port)
            )
        except OSError as error:
            await self.close()
            raise Invalid(f"DNS cannot be served on {address}: {error.strerror or error}") from error

    async def close(self) -> None:
        if self._datagrams is not None:
            self._datagrams.close()
        if self._streams is not None:
            self._streams.close()
        self._streams = self._datagrams = None

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0]
        try:
            async with asyncio.timeout(_PATIENCE):
                length = struct.unpack("!H", await reader.readexactly(2))[0]
                asked = dns.question(await reader.readexactly(length))
                for message in await self.answers(asked, peer, whole=True):
                    writer.write(struct.pack("!H", len(message)) + message)
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError, Invalid):
            pass
        finally:
            writer.close()

    async def answers(self, asked: dns.Question, peer: str, *, whole: bool) -> list[bytes]:
        """The messages for a question; `whole` transfers need a stream."""
        zone = self._zone(asked.name, peer)
        if asked.opcode:
            return [dns.answer(asked, code=dns.NOT_IMPLEMENTED)]
        if zone is None:
            return [dns.answer(asked, code=dns.REFUSED)]
        soa, entries = await zones.contents(self._parts, zone)
        if asked.type == dns.TYPES["SOA"]:
            return [dns.answer(asked, [soa])]
        if whole and asked.type in (dns.AXFR, dns.IXFR):
            log.info("the zone %s is transferred to %s", zone.name, peer)
            return list(dns.transfer(asked, soa, entries))
        return [dns.answer(asked, code=dns.REFUSED)]

    def _zone(self, name: str, peer: str) -> ZoneRecord | None:
        found = next((each for each in self._parts.state.zones.all() if each.name == name), None)
        if found is None:
            return None
        address = ip_address(peer)
        mapped = getattr(address, "ipv4_mapped", None)
        return found if str(mapped or address) in keys.peers(found.config) else None


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, owner: Dns) -> None:
        self._owner = owner
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is none by its class

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        task = asyncio.ensure_future(self._answer(data, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, address: tuple[str, int]) -> None:
        with contextlib.suppress(Invalid):
            for message in await self._owner.answers(dns.question(data), address[0], whole=False):
                self._transport.sendto(message, address)
