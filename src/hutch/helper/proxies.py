"""Carries the connections of every proxy device of a daemon: between two network namespaces, by splice, in one process.

It outlives the daemon, so that connections do. Started as `python -I -S proxies.py`, with the listening socket (Unix,
SOCK_SEQPACKET) as standard input. A packet is a JSON object; each is answered by a packet: `{}`, or `{"error": ...}`. The
program ends when it has no proxy and nobody is connected.

    lease                        `{"pid": ...}` of this program
    add  key, spec + descriptors listen and connect as `spec` says, in place of what the key had; the descriptors are the guest's
                                 network namespace and its root. The same spec again changes nothing
    list                         `{"proxies": [key, ...]}`
    drop key                     end the proxy and its connections

A spec: `listen` and `connect` are lists of ends (`[kind, host, port]` with kind tcp, udp or unix), paired, or all to the only
target; `bind` (host, instance) is where the first are, the second being on the other side; `header`: say who called in the
PROXY protocol; `mode` and `owner` of a listening Unix socket, `user` and `group` to connect as, `root` the guest's root, all as
ids of the host.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

CHUNK, PIPE = 1 << 20, 256 * 1024
DATAGRAM, UDP_IDLE, MANY = 65536, 180.0, 1024
PATIENCE = 60.0
CLONE_NEWNET, OPENAT2, IN_ROOT = 0x40000000, 437, 0x10
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

Spec = dict[str, Any]


def check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)
    return result


class Side:
    """The host or a guest: where sockets are made. `network` and `root` are descriptors, -1 for the host's own."""

    def __init__(self, network: int = -1, root: int = -1, owner: tuple[int, int] = (0, 0)) -> None:
        self.network, self.root, self.owner = network, root, owner

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        if self.network < 0:
            yield
            return
        check(libc.setns(self.network, CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            check(libc.setns(home, CLONE_NEWNET), "setns")

    @contextlib.contextmanager
    def folder(self, path: str) -> Iterator[str]:
        """A name for a socket's path that stays below the guest's root, whatever its links say."""
        if self.root < 0:
            yield path
            return
        how = struct.pack("QQQ", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, 0, IN_ROOT)
        parent = os.fsencode(os.path.dirname(path) or "/") + b"\0"  # noqa: PTH120
        fd = check(libc.syscall(OPENAT2, self.root, parent, ctypes.c_char_p(how), len(how)), path)
        try:
            yield f"/proc/self/fd/{fd}/{os.path.basename(path)}"  # noqa: PTH119
        finally:
            os.close(fd)


@contextlib.contextmanager
def acting_as(user: int, group: int) -> Iterator[None]:
    """With other effective ids, which is what permissions and the other end of a Unix socket see."""
    if not (user or group):
        yield
        return
    os.setegid(group)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


class Way:
    """One direction of a connection: what `source` says goes through a pipe to `target`."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self.target = source, target
        self.out, self.into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held, self.ended, self.done, self.starved = 0, False, False, True
        self.first = b""

    def pump(self) -> None:
        """Move what can be moved now. Raises OSError when the connection is broken."""
        if self.first:
            self.first = self.first[self.target.send(self.first) :]
        while not self.done:
            moved = 0
            if not self.ended and self.held < PIPE:
                try:
                    moved = os.splice(self.source.fileno(), self.into, CHUNK, flags=3)
                    self.ended = moved == 0
                    self.held += moved
                except BlockingIOError:
                    pass
            if self.held:
                try:
                    sent = os.splice(self.out, self.target.fileno(), self.held, flags=3)
                    self.held -= sent
                    moved += sent
                except BlockingIOError:
                    if not moved:
                        break
            if self.ended and not self.held:
                self.done = True
                with contextlib.suppress(OSError):
                    self.target.shutdown(socket.SHUT_WR)
            if not moved:
                break

    def close(self) -> None:
        os.close(self.out)
        os.close(self.into)


class Connection:
    """A caller and the target, once both are there."""

    def __init__(self, proxy: "Proxy", caller: socket.socket, target: socket.socket, header: bytes) -> None:
        self.proxy, self.ends = proxy, (caller, target)
        self.ways = (Way(caller, target), Way(target, caller))
        self.ways[0].first = header
        self.begun = False
        proxy.connections.add(self)
        server.watch(target, select.EPOLLOUT, self.ready)

    def ready(self, events: int) -> None:
        if not self.begun:
            if self.ends[1].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.close()
                return
            self.begun = True
            server.watch(self.ends[0], select.EPOLLIN, self.ready)
        try:
            for way in self.ways:
                with contextlib.suppress(BlockingIOError):
                    way.pump()
        except OSError:
            self.close()
            return
        if all(way.done for way in self.ways) or events & select.EPOLLERR:
            self.close()
            return
        for number, end in enumerate(self.ends):
            gives, takes = self.ways[number], self.ways[1 - number]
            wanted = 0 if gives.ended or gives.held >= PIPE else select.EPOLLIN
            wanted |= select.EPOLLOUT if takes.held or takes.first else 0
            if wanted:
                server.watch(end, wanted, self.ready)
            else:
                # epoll would tell of its hang-up for ever
                server.forget(end)

    def close(self) -> None:
        self.proxy.connections.discard(self)
        for end in self.ends:
            server.forget(end)
            end.close()
        for way in self.ways:
            way.close()


class Answers:
    """The target of one sender of datagrams; what it says goes back to that sender."""

    def __init__(self, target: socket.socket, back: Callable[[bytes], None]) -> None:
        self.target, self.back, self.used = target, back, time.monotonic()
        server.watch(target, select.EPOLLIN, self.ready)

    def ready(self, _events: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.back(self.target.recv(DATAGRAM))
                self.used = time.monotonic()

    def close(self) -> None:
        server.forget(self.target)
        self.target.close()


class Proxy:
    def __init__(self, key: str, spec: Spec, network: int, root: int) -> None:
        self.key, self.spec, self.fds = key, spec, (network, root)
        guest, host = Side(network, root, tuple(spec["root"])), Side()
        self.near, self.far = (host, guest) if spec["bind"] == "host" else (guest, host)
        self.listeners: list[socket.socket] = []
        self.paths: list[str] = []
        self.connections: set[Connection] = set()
        self.senders: dict[Any, Answers] = {}
        try:
            for number, end in enumerate(spec["listen"]):
                targets = spec["connect"]
                self.listen(end, targets[number if len(targets) > 1 else 0])
        except BaseException:
            self.close()
            raise

    def listen(self, end: list[Any], target: list[Any]) -> None:
        kind, host, port = end
        with self.near.entered():
            made = new_socket(kind, host)
            self.listeners.append(made)
            if kind == "unix":
                self.bind_path(made, host)
            else:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if made.family == socket.AF_INET6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
                made.bind((host, port))
            if kind == "udp":
                server.watch(made, select.EPOLLIN, lambda _events: self.datagram(made, target))
            else:
                made.listen(1024)
                server.watch(made, select.EPOLLIN, lambda _events: self.accept(made, target))

    def bind_path(self, made: socket.socket, path: str) -> None:
        if path.startswith("@"):
            made.bind("\0" + path[1:])
            return
        owner = self.spec["owner"]
        with self.near.folder(path) as name:
            with acting_as(*self.near.owner):
                # One that nobody listens on any more is in the way of the next start only.
                with contextlib.suppress(OSError):
                    trial = new_socket("unix", path)
                    with contextlib.closing(trial):
                        if trial.connect_ex(name) == errno.ECONNREFUSED:
                            os.unlink(name)  # noqa: PTH108
                made.bind(name)
            self.paths.append(path)
            os.chmod(name, self.spec["mode"])  # noqa: PTH101
            os.chown(name, *owner, follow_symlinks=False)

    def connect(self, end: list[Any]) -> socket.socket:
        """A socket that is connected, or about to be."""
        kind, host, port = end
        with self.far.entered():
            made = new_socket(kind, host)
            try:
                if kind == "unix" and not host.startswith("@"):
                    as_root = self.far.owner if not self.spec["user"] else (0, 0)
                    user, group = self.spec["user"] or as_root[0], self.spec["group"] or as_root[1]
                    with self.far.folder(host) as name, acting_as(user, group):
                        made.connect(name)
                else:
                    address = "\0" + host[1:] if kind == "unix" else (host, port)
                    with acting_as(self.spec["user"], self.spec["group"]):
                        number = made.connect_ex(address)
                    if number not in (0, errno.EINPROGRESS):
                        raise OSError(number, os.strerror(number))
            except BaseException:
                made.close()
                raise
            return made

    def accept(self, listener: socket.socket, target: list[Any]) -> None:
        for _ in range(64):
            try:
                caller, _address = listener.accept()
            except OSError:
                return
            caller.setblocking(False)
            try:
                other = self.connect(target)
            except OSError:
                caller.close()
                continue
            Connection(self, caller, other, header(caller) if self.spec["header"] else b"")

    def datagram(self, listener: socket.socket, target: list[Any]) -> None:
        for _ in range(64):
            try:
                data, sender = listener.recvfrom(DATAGRAM)
            except OSError:
                return
            key = (listener.fileno(), sender)
            with contextlib.suppress(OSError):
                if key not in self.senders:
                    self.tidy()
                    self.senders[key] = Answers(self.connect(target), answering(listener, sender))
                self.senders[key].used = time.monotonic()
                self.senders[key].target.send(data)

    def tidy(self) -> None:
        """Forget senders that have been silent for long, and the most silent of too many."""
        silent = sorted(self.senders, key=lambda key: self.senders[key].used)
        for place, key in enumerate(silent):
            if len(silent) - place >= MANY or self.senders[key].used < time.monotonic() - UDP_IDLE:
                self.senders.pop(key).close()

    def close(self) -> None:
        for listener in self.listeners:
            server.forget(listener)
            listener.close()
        for connection in list(self.connections):
            connection.close()
        for answers in self.senders.values():
            answers.close()
        for path in self.paths:
            with contextlib.suppress(OSError), self.near.folder(path) as name, acting_as(*self.near.owner):
                os.unlink(name)  # noqa: PTH108
        for fd in self.fds:
            os.close(fd)


def answering(listener: socket.socket, sender: Any) -> Callable[[bytes], None]:
    return lambda data: void(listener.sendto(data, sender))


def void(_value: object) -> None:
    return None


def new_socket(kind: str, host: str) -> socket.socket:
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET6 if ":" in host else socket.AF_INET
    flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    return socket.socket(family, (socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) | flags)


def header(caller: socket.socket) -> bytes:
    """Who called whom, in version 1 of HAProxy's PROXY protocol."""
    if caller.family == socket.AF_UNIX:
        return b"PROXY UNKNOWN\r\n"
    theirs, ours = caller.getpeername(), caller.getsockname()
    family = "TCP6" if caller.family == socket.AF_INET6 else "TCP4"
    return f"PROXY {family} {theirs[0]} {ours[0]} {theirs[1]} {ours[1]}\r\n".encode()


class Server:
    def __init__(self, listener: socket.socket) -> None:
        self.poll = select.epoll()
        self.handlers: dict[int, tuple[int, Callable[[int], None]]] = {}
        self.proxies: dict[str, Proxy] = {}
        self.daemons: set[socket.socket] = set()
        self.begun = False
        self.listener = listener

    def watch(self, end: socket.socket, events: int, handler: Callable[[int], None]) -> None:
        known = self.handlers.get(end.fileno())
        if known is None:
            self.poll.register(end.fileno(), events)
        elif known[0] != events:
            self.poll.modify(end.fileno(), events)
        self.handlers[end.fileno()] = events, handler

    def forget(self, end: socket.socket) -> None:
        if self.handlers.pop(end.fileno(), None) is not None:
            self.poll.unregister(end.fileno())

    def serve(self) -> None:
        self.watch(self.listener, select.EPOLLIN, self.accept)
        while self.proxies or self.daemons or not self.begun:
            ready = self.poll.poll(None if self.begun else PATIENCE)
            if not ready and not self.begun:
                return
            for fd, events in ready:
                if (found := self.handlers.get(fd)) is not None:
                    found[1](events)

    def accept(self, _events: int) -> None:
        daemon, _ = self.listener.accept()
        self.begun = True
        self.daemons.add(daemon)
        self.watch(daemon, select.EPOLLIN, lambda _events: self.receive(daemon))

    def receive(self, daemon: socket.socket) -> None:
        data, fds = b"", list[int]()
        with contextlib.suppress(ConnectionError):
            data, fds, _flags, _address = socket.recv_fds(daemon, CHUNK, 2, socket.MSG_CMSG_CLOEXEC)
        if not data:
            self.forget(daemon)
            self.daemons.discard(daemon)
            daemon.close()
            return
        try:
            answer = self.answer(json.loads(data), fds)
        except OSError as error:
            answer = {"error": error.strerror or str(error), "errno": error.errno}
        with contextlib.suppress(ConnectionError):
            daemon.send(json.dumps(answer).encode())

    def answer(self, request: Spec, fds: list[int]) -> Spec:
        command, key = request["command"], request.get("key", "")
        if command == "lease":
            return {"pid": os.getpid()}
        if command == "list":
            return {"proxies": sorted(self.proxies)}
        known = self.proxies.get(key)
        if command == "add" and known is not None and known.spec == request["spec"]:
            for fd in fds:
                os.close(fd)
            return {}
        if known is not None:
            del self.proxies[key]
            known.close()
        if command == "add":
            self.proxies[key] = Proxy(key, request["spec"], *fds)
        return {}


def main() -> None:
    global home, server
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(3, 64)
    # The daemon's event loop kills the programs that it started itself when it is closed: it waits for the first of the two.
    if os.fork():
        os._exit(0)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.umask(0)
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    server = Server(socket.socket(fileno=0))
    server.serve()


home: int
server: Server

if __name__ == "__main__":
    main()
