"""Keeps the consoles of a daemon's instances: drains each into a bounded log and relays attached clients.

It outlives the daemon, so that no guest blocks on a full terminal and no line is lost while the daemon is away.
Started as `python -I -S consoles.py`, with the listening socket (Unix, SOCK_SEQPACKET) as standard input. A packet
is a JSON object, with a descriptor beside it where it needs one; each is answered by a packet: `{}`, or `{"error": ...}`.
The program ends when it has no console and nobody is connected.

    lease                       `{"pid": ...}` of this program
    adopt  key, log + master    keep this pty master, write what it says to the file `log`
    attach key, force + socket  relay this stream socket; `error: busy` when another is attached and `force` is not set
    detach key                  end what is attached
    resize key, columns, rows
    clear  key                  empty the log
    fetch  key                  answered with a duplicate of the master
    list                        `{"consoles": {key: {"log": path, "attached": bool}}}`
    drop   key                  close the master, keep the log
"""

import array
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import termios
from collections.abc import Callable
from typing import Any

LOG_LIMIT = 512 * 1024
"""Bytes of the log before it becomes `console.log.old`; twice this is kept."""
PENDING_LIMIT = 1024 * 1024
"""Bytes that an attached client may lag behind before it is let go."""
CHUNK = 64 * 1024
PATIENCE = 60.0
"""Seconds for the daemon that started this program to connect."""
TIOCGPTPEER = 0x5441

Reply = dict[str, Any]


class Console:
    """One pty master, its log, and the client attached to it.

    The slave is kept open too: a master whose slave nobody holds reports a hang-up for ever.
    """

    def __init__(self, master: int, log: str) -> None:
        self.master, self.log = master, log
        os.set_blocking(master, False)
        self.slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        self.file = self._open()
        self.client: socket.socket | None = None
        self.to_client = b""
        self.to_guest = b""

    def _open(self) -> int | None:
        with contextlib.suppress(OSError):
            return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return None

    def write_log(self, data: bytes) -> None:
        """Append; a full disk or a removed folder loses log lines, never the guest's output."""
        if self.file is None:
            return
        with contextlib.suppress(OSError):
            if os.fstat(self.file).st_size + len(data) > LOG_LIMIT:
                os.close(self.file)
                with contextlib.suppress(OSError):
                    os.replace(self.log, self.log + ".old")  # noqa: PTH105 (pathlib costs 1 MiB here)
                self.file = self._open()
            if self.file is not None:
                os.write(self.file, data)

    def clear_log(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.log + ".old")  # noqa: PTH108
        if self.file is not None:
            os.ftruncate(self.file, 0)

    def close(self) -> None:
        for fd in (self.master, self.slave, self.file):
            if fd is not None:
                os.close(fd)


class Keeper:
    """The event loop: consoles by key, connections of the daemon, and what epoll's descriptors stand for."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.poll = select.epoll()
        self.consoles: dict[str, Console] = {}
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.connections: set[socket.socket] = set()
        self.begun = False
        self.watch(listener.fileno(), select.EPOLLIN, self.accept)

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        if fd in self.handlers:
            self.poll.modify(fd, events)
        else:
            self.poll.register(fd, events)
        self.handlers[fd] = handler

    def forget(self, fd: int) -> None:
        if self.handlers.pop(fd, None) is not None:
            self.poll.unregister(fd)

    def serve(self) -> None:
        while self.consoles or self.connections or not self.begun:
            ready = self.poll.poll(None if self.begun else PATIENCE)
            if not ready and not self.begun:
                return
            for fd, events in ready:
                handler = self.handlers.get(fd)
                if handler is not None:
                    handler(events)

    def accept(self, _events: int) -> None:
        connection, _ = self.listener.accept()
        connection.setblocking(True)
        self.begun = True
        self.connections.add(connection)
        self.watch(connection.fileno(), select.EPOLLIN, lambda _events: self.receive(connection))

    def receive(self, connection: socket.socket) -> None:
        fds = array.array("i")
        try:
            data, ancillary, _flags, _address = connection.recvmsg(CHUNK, socket.CMSG_SPACE(fds.itemsize))
        except ConnectionError:
            data, ancillary = b"", []
        for _level, _kind, content in ancillary:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if not data:
            self.forget(connection.fileno())
            self.connections.discard(connection)
            connection.close()
            return
        passed = fds[0] if fds else None
        answer, sent = self.answer(json.loads(data), passed)
        extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sent]))] if sent is not None else []
        with contextlib.suppress(ConnectionError):
            connection.sendmsg([json.dumps(answer).encode()], extra)

    def answer(self, request: Reply, fd: int | None) -> tuple[Reply, int | None]:
        """The reply and a descriptor to send with it."""
        command, key = request["command"], request.get("key", "")
        if command == "lease":
            return {"pid": os.getpid()}, None
        if command == "list":
            return {
                "consoles": {k: {"log": c.log, "attached": c.client is not None} for k, c in self.consoles.items()}
            }, None
        if command == "adopt" and fd is not None:
            self.adopt(key, fd, request["log"])
            return {}, None
        console = self.consoles.get(key)
        if console is None:
            if fd is not None:
                os.close(fd)
            return {"error": "missing"}, None
        if command == "fetch":
            return {}, console.master
        if command == "attach" and fd is not None:
            return self.attach(console, fd, bool(request.get("force"))), None
        if command == "detach":
            self.detach(console)
        elif command == "resize":
            fcntl.ioctl(
                console.master, termios.TIOCSWINSZ, struct.pack("HHHH", request["rows"], request["columns"], 0, 0)
            )
        elif command == "clear":
            console.clear_log()
        elif command == "drop":
            self.drop(key, console)
        else:
            return {"error": "unknown"}, None
        return {}, None

    def adopt(self, key: str, master: int, log: str) -> None:
        if key in self.consoles:
            self.drop(key, self.consoles[key])
        console = self.consoles[key] = Console(master, log)
        self.watch(master, select.EPOLLIN, lambda events: self.guest(console, events))

    def attach(self, console: Console, fd: int, force: bool) -> Reply:
        if console.client is not None and not force:
            os.close(fd)
            return {"error": "busy"}
        self.detach(console)
        client = console.client = socket.socket(fileno=fd)
        client.setblocking(False)
        self.watch(fd, select.EPOLLIN, lambda events: self.person(console, client, events))
        return {}

    def drop(self, key: str, console: Console) -> None:
        # What the guest said last may still be in the terminal.
        self.guest(console, select.EPOLLIN)
        self.detach(console)
        self.forget(console.master)
        console.close()
        del self.consoles[key]

    def detach(self, console: Console) -> None:
        if console.client is not None:
            self.forget(console.client.fileno())
            console.client.close()
        console.client = None
        console.to_client = console.to_guest = b""
        if console.master in self.handlers:
            self.poll.modify(console.master, select.EPOLLIN)

    def guest(self, console: Console, events: int) -> None:
        """The guest wrote, or takes input again."""
        if events & select.EPOLLOUT:
            self.feed(console)
        if not events & select.EPOLLIN:
            return
        try:
            data = os.read(console.master, CHUNK)
        except BlockingIOError:
            return
        console.write_log(data)
        if console.client is not None:
            console.to_client += data
            self.drain(console, console.client)

    def person(self, console: Console, client: socket.socket, events: int) -> None:
        """The attached client typed, took output again, or left."""
        if console.client is not client:
            return
        if events & select.EPOLLOUT:
            self.drain(console, client)
        if console.client is client and events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            data = b""
            with contextlib.suppress(ConnectionError):
                data = client.recv(CHUNK)
            if not data:
                self.detach(console)
                return
            console.to_guest += data
            self.feed(console)

    def drain(self, console: Console, client: socket.socket) -> None:
        try:
            sent = client.send(console.to_client)
            console.to_client = console.to_client[sent:]
        except BlockingIOError:
            pass
        except ConnectionError:
            self.detach(console)
            return
        if len(console.to_client) > PENDING_LIMIT:
            self.detach(console)
            return
        self.interest(console)

    def feed(self, console: Console) -> None:
        with contextlib.suppress(BlockingIOError):
            written = os.write(console.master, console.to_guest)
            console.to_guest = console.to_guest[written:]
        self.interest(console)

    def interest(self, console: Console) -> None:
        """Ask epoll for what can be used: no more input while the guest does not take it."""
        self.poll.modify(console.master, select.EPOLLIN | (select.EPOLLOUT if console.to_guest else 0))
        if console.client is not None:
            wanted = (0 if console.to_guest else select.EPOLLIN) | (select.EPOLLOUT if console.to_client else 0)
            self.poll.modify(console.client.fileno(), wanted)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(3, 64)
    # The daemon's event loop kills the programs that it started itself when it is closed: it waits for the first of the two.
    if os.fork():
        os._exit(0)
    Keeper(socket.socket(fileno=0)).serve()


if __name__ == "__main__":
    main()
