"""The Unix socket, and who is at its other end."""

import grp
import logging
import os
import pwd
import socket
import struct
from pathlib import Path

from aiohttp import web

from hutch.service.parts import Caller
from hutch.work.events import Requestor

log = logging.getLogger(__name__)


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


def caller(http: web.Request) -> Caller:
    """Who is at the other end of the Unix socket, by the kernel's word (SO_PEERCRED)."""
    transport = http.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None:
        raise ConnectionResetError("the client has gone")
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Caller(trusted=True, requestor=Requestor(username=_user(uid), protocol="unix", address=f"@{uid}"))


_users: dict[int, str] = {}


def _user(uid: int) -> str:
    if uid not in _users:
        try:
            _users[uid] = pwd.getpwuid(uid).pw_name
        except KeyError:
            _users[uid] = str(uid)
    return _users[uid]
