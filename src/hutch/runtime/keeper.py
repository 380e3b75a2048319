"""Talking to a small program of hutch's that outlives the daemon: packets of JSON, with descriptors, over one Unix socket."""

import array
import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hutch.errors import Unavailable
from hutch.kernel import namespaces, run

_ANSWER = 256 * 1024


async def reach(path: Path, program: Path) -> socket.socket:
    """A connection to the program whose socket is at `path`, started among the host's mounts if need be. Raises Unavailable."""
    connection = await asyncio.to_thread(_reach, path)
    if connection is None:
        await _start(path, program)
        connection = await asyncio.to_thread(_reach, path)
    if connection is None:
        raise Unavailable(f"{program.name} does not answer at {path}")
    return connection


async def find(path: Path) -> socket.socket | None:
    """A connection to the program if it runs."""
    return await asyncio.to_thread(_reach, path)


async def ask(
    connection: socket.socket, request: dict[str, Any], descriptors: Sequence[int] = ()
) -> tuple[dict[str, Any], int | None]:
    """The answer, and the descriptor that came with it. Raises Unavailable, at the latest after ten seconds."""
    return await asyncio.to_thread(_exchange, connection, request, descriptors)


async def _start(path: Path, program: Path) -> None:
    listener = await asyncio.to_thread(_listen, path)
    argv, passed = namespaces.among_host_mounts([sys.executable, "-I", "-S", str(program)])
    with listener:
        process = await run.start(
            argv,
            stdin=listener.fileno(),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=passed,
        )
        await process.wait()


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        path.unlink(missing_ok=True)
        # A path by descriptor: sockaddr_un takes 108 bytes only.
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        path.chmod(0o600)
        listener.listen(16)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(folder)
    return listener


def _reach(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(10)
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            connection.connect(f"/proc/self/fd/{folder}/{path.name}")
            return connection
        finally:
            os.close(folder)
    connection.close()
    return None


def _exchange(
    connection: socket.socket, request: dict[str, Any], descriptors: Sequence[int]
) -> tuple[dict[str, Any], int | None]:
    extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    try:
        connection.sendmsg([json.dumps(request).encode()], extra)
        data, fds, _flags, _address = socket.recv_fds(connection, _ANSWER, 1, socket.MSG_CMSG_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"a program that the daemon needs does not answer: {error}") from error
    if not data:
        raise Unavailable("a program that the daemon needs has ended")
    return json.loads(data), fds[0] if fds else None
