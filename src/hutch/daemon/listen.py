"""The sockets that requests come by, and who is at their other end."""

import asyncio
import grp
import hashlib
import logging
import os
import pwd
import socket
import ssl
import struct
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from aiohttp import web

from hutch.access.callers import Caller
from hutch.daemon.doorkeeper import Doorkeeper
from hutch.errors import Invalid
from hutch.schema.keys import server as keys
from hutch.schema.server import ServerRecord
from hutch.service.server import split_address
from hutch.service.users import project_of
from hutch.store.records import State
from hutch.work.events import Requestor

log = logging.getLogger(__name__)

_HANDSHAKE = 10.0


def has_group(name: str) -> bool:
    """Whether the host has a group of this name."""
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def unix_socket(path: Path, group: str) -> socket.socket:
    """A listening socket of mode 0660 for root and the group, put in place of what an earlier daemon left."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.bind(str(draft))
    draft.chmod(0o660)
    try:
        os.chown(draft, 0, grp.getgrnam(group).gr_gid)
    except KeyError:
        log.warning("there is no group %r: only root can use %s", group, path)
    listener.listen(1024)
    draft.rename(path)
    return listener


class Https:
    """HTTPS on one address at a time, moved while the daemon runs."""

    def __init__(self, server: web.Server, directory: Path, oldest: str) -> None:
        """`oldest` is the version of TLS that a client must speak at least: 1.2 or 1.3."""
        self._server, self._directory, self._oldest = server, directory, oldest
        self._listening: asyncio.Server | None = None

    async def listen(self, address: str) -> None:
        """Serve on `address` only; empty: nowhere. Invalid, with the old address served on, when it cannot be had."""
        old, new = self._listening, None
        if address:
            host, port = split_address(address)
            try:
                listener = _tcp_socket(host, port)
            except OSError as error:
                raise Invalid(f"cannot listen on {address}: {error.strerror or error}") from error
            new = await asyncio.get_running_loop().create_server(
                Doorkeeper(self._server),
                sock=listener,
                ssl=self._context(),
                ssl_handshake_timeout=_HANDSHAKE,
                backlog=1024,
            )
            log.info("HTTPS is served on %s", address)
        self._listening = new
        if old is not None:
            old.close()

    def _context(self) -> ssl.SSLContext:
        from hutch.access.tls import AnyClientContext

        return AnyClientContext(self._directory / "server.crt", self._directory / "server.key", self._oldest)

    async def close(self) -> None:
        await self.listen("")


def _tcp_socket(host: str, port: int) -> socket.socket:
    if host in ("", "::"):
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


class Authority(Protocol):
    """Who signs the certificates of clients in PKI mode (access/pki.py, which is loaded only then)."""

    def accepts(self, der: bytes) -> bool: ...


class Callers:
    """Tells who sent a request: the kernel's word on the Unix socket (SO_PEERCRED), the certificate over HTTPS.

    In PKI mode (`authority`) a certificate is worth nothing unless the authority signed it, and each that it signed is
    trusted unless core.trust_ca_certificates is off; what the trust store says of one holds all the same.
    """

    def __init__(self, state: State, authority: Authority | None) -> None:
        self._state, self._authority = state, authority

    def __call__(self, http: web.Request) -> Caller:
        transport = http.transport
        peer = transport.get_extra_info("socket") if transport is not None else None
        if transport is None or peer is None:
            raise ConnectionResetError("the client has gone")
        if peer.family == socket.AF_UNIX:
            _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return self._at_home(uid)
        return self._remote(transport)

    def _at_home(self, uid: int) -> Caller:
        return Caller(trusted=True, requestor=Requestor(username=_user(uid), protocol="unix", address=f"@{uid}"))

    def _remote(self, transport: asyncio.BaseTransport) -> Caller:
        address = str((transport.get_extra_info("peername") or ("",))[0])
        shown = transport.get_extra_info("ssl_object")
        der = shown.getpeercert(True) if shown is not None else None
        if not der:
            return Caller(trusted=False, requestor=Requestor(protocol="tls", address=address))
        fingerprint = hashlib.sha256(der).hexdigest()
        who = Requestor(username=fingerprint, protocol="tls", address=address)
        if self._authority is not None and not self._authority.accepts(der):
            return Caller(trusted=False, requestor=who)
        record = self._state.certificates.find(fingerprint)
        if record is None:
            return Caller(trusted=self._trusts_signed(), requestor=who, certificate=der)
        metrics = record.type == "metrics"
        projects = frozenset(record.projects) if record.restricted else None
        return Caller(not metrics, who, certificate=der, projects=projects, is_metrics=metrics)

    def _trusts_signed(self) -> bool:
        settings = self._state.server.find("config") or ServerRecord()
        return self._authority is not None and keys.flag(settings.config, "core.trust_ca_certificates")


class Users(Callers):
    """Who comes by the socket for users is in a project of their own; root is who root is everywhere."""

    def _at_home(self, uid: int) -> Caller:
        caller = super()._at_home(uid)
        if uid == 0:
            return caller
        own = project_of(uid)
        return replace(caller, projects=frozenset({own}), user=uid, project=own)


_users: dict[int, str] = {}


def _user(uid: int) -> str:
    if uid not in _users:
        try:
            _users[uid] = pwd.getpwuid(uid).pw_name
        except KeyError:
            _users[uid] = str(uid)
    return _users[uid]
