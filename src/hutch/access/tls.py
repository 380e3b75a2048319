"""TLS that asks for a client certificate and accepts whatever is shown: trust is decided per request, by fingerprint.

The standard library cannot ask without verifying (CERT_OPTIONAL refuses a self-signed client in the handshake), so
pyOpenSSL does the TLS behind an object with the methods that asyncio expects of `ssl.SSLObject`.
Possession of the key is still proven: accepting any chain does not skip the handshake's CertificateVerify.
"""

import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

_HEADER = 5
_TLS12_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
_DRAIN = 256 * 1024


class Peer:
    """What asyncio needs of an `ssl.SSLObject`, done by a pyOpenSSL connection."""

    def __init__(self, engine: SSL.Context, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self.server_side = True
        self.server_hostname = None
        self.session = None
        self.session_reused = False
        self._incoming, self._outgoing = incoming, outgoing
        self._header, self._missing = b"", 0
        self._connection = SSL.Connection(engine, None)
        self._connection.set_accept_state()

    def do_handshake(self) -> None:
        self._run(self._connection.do_handshake)

    def read(self, size: int = 1024, buffer: memoryview | None = None) -> bytes | int:
        try:
            if buffer is None:
                data: bytes = self._run(self._connection.recv, size)
                return data
            return int(self._run(self._connection.recv_into, buffer, size))
        except ssl.SSLZeroReturnError:
            # close_notify: asyncio takes an empty read as the end
            return b"" if buffer is None else 0

    def write(self, data: bytes | memoryview) -> int:
        # the whole buffer at once: asyncio copies what is left each time
        return int(self._run(self._connection.send, data))

    def unwrap(self) -> None:
        self._run(self._shutdown)

    def _shutdown(self) -> None:
        if not self._connection.shutdown():
            raise SSL.WantReadError

    def pending(self) -> int:
        return self._connection.pending()

    def getpeercert(self, binary_form: bool = False) -> bytes | dict[str, object] | None:
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return None
        return certificate.public_bytes(Encoding.DER) if binary_form else {}

    def cipher(self) -> tuple[str, str, int] | None:
        name = self._connection.get_cipher_name()
        if name is None:
            return None
        return name, self._connection.get_cipher_version() or "", self._connection.get_cipher_bits() or 0

    def version(self) -> str | None:
        return self._connection.get_protocol_version_name()

    def compression(self) -> None:
        return None

    def selected_alpn_protocol(self) -> str | None:
        return self._connection.get_alpn_proto_negotiated().decode() or None

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        return self._connection.get_finished() if cb_type == "tls-unique" else None

    def _feed(self) -> bool:
        """Hand OpenSSL the next record and no more: asyncio decides by `incoming.pending` whether to read on."""
        if not self._incoming.pending:
            return False
        if not self._missing:
            self._header += self._incoming.read(_HEADER - len(self._header))
            if len(self._header) < _HEADER:
                return False
            self._missing = int.from_bytes(self._header[3:], "big")
            self._connection.bio_write(self._header)
            self._header = b""
        if body := self._incoming.read(self._missing):
            self._missing -= len(body)
            self._connection.bio_write(body)
        return True

    def _run(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """One OpenSSL step, fed only as far as it asks, its errors as the standard library's."""
        try:
            while True:
                try:
                    return step(*arguments)
                except SSL.WantReadError:
                    if not self._feed():
                        raise
        except SSL.WantReadError:
            if self._incoming.eof:
                raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol") from None
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "want read") from None
        except SSL.WantWriteError:
            raise ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "want write") from None
        except SSL.ZeroReturnError:
            raise ssl.SSLZeroReturnError(ssl.SSL_ERROR_ZERO_RETURN, "closed by peer") from None
        except SSL.SysCallError as error:
            raise ssl.SSLSyscallError(ssl.SSL_ERROR_SYSCALL, str(error)) from None
        except SSL.Error as error:
            reasons = ", ".join(reason for *_, reason in (error.args[0] if error.args else ()))
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, reasons or "TLS failure") from None
        finally:
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    self._outgoing.write(self._connection.bio_read(_DRAIN))


class AnyClientContext(ssl.SSLContext):
    """An `ssl.SSLContext` in name, so that asyncio accepts it; pyOpenSSL underneath. `oldest` is TLS 1.3 or 1.2, which has
    only ciphers that are authenticated and keep the past secret."""

    engine: SSL.Context

    def __new__(cls, certificate: Path, key: Path, oldest: str = "1.3") -> "AnyClientContext":
        self = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        engine = self.engine = SSL.Context(SSL.TLS_SERVER_METHOD)
        engine.set_min_proto_version({"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}[oldest])
        engine.set_cipher_list(_TLS12_CIPHERS)
        engine.use_certificate_chain_file(str(certificate))
        engine.use_privatekey_file(str(key))
        engine.check_privatekey()
        engine.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        # a resumed session carries no certificate: never resume
        engine.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        engine.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        engine.set_alpn_select_callback(
            lambda _, names: b"http/1.1" if b"http/1.1" in names else SSL.NO_OVERLAPPING_PROTOCOLS
        )
        return self

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def wrap_bio(  # type: ignore[override]
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> Peer:
        if not server_side:
            raise ValueError("this context is for servers")
        return Peer(self.engine, incoming, outgoing)
