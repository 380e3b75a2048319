"""Strangers at the HTTPS door: a connection that asks for nothing is not kept for long, and never many of them."""

import asyncio
from collections.abc import Callable

_PATIENCE = 10.0
"""Seconds in which the head of the first request must be there."""
_MOST = 1000
"""How many connections may be without one at a time: the oldest goes when one more comes."""
_END_OF_HEAD = b"\r\n\r\n"


class Doorkeeper:
    """Makes the protocols of a listener: those of `server`, behind a guard until their first request is there."""

    def __init__(self, server: Callable[[], asyncio.Protocol]) -> None:
        self._server = server
        self.waiting: dict[_Guarded, None] = {}

    def __call__(self) -> asyncio.Protocol:
        return _Guarded(self, self._server())


class _Guarded(asyncio.Protocol):
    """Passes everything on to `inner`, and leaves the connection to it when the first request has come."""

    def __init__(self, keeper: Doorkeeper, inner: asyncio.Protocol) -> None:
        self._keeper, self._inner = keeper, inner
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE, self._give_up)
        waiting = self._keeper.waiting
        waiting[self] = None
        if len(waiting) > _MOST:
            next(iter(waiting))._give_up()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        seen = self._tail + data
        self._tail = seen[-len(_END_OF_HEAD) + 1 :]
        if _END_OF_HEAD in seen:
            self._settled()
            self._transport.set_protocol(self._inner)
        self._inner.data_received(data)

    def _settled(self) -> None:
        self._timer.cancel()
        self._keeper.waiting.pop(self, None)

    def _give_up(self) -> None:
        self._settled()
        self._transport.abort()

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._settled()
        self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
