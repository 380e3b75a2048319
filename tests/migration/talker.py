"""Talks to the programs of workloads.py over connections that stay open: `talker.py ADDRESS KEY`, until its input ends.

Prints "talking" when every connection has been answered once; at the end JSON: how often each was, and what went wrong.
"""

import json
import select
import socket
import subprocess
import sys
from collections.abc import Callable

PATIENCE, EVERY = 60.0, 0.02


def connected(address: str, port: int) -> tuple[Callable[[bytes], None], Callable[[], bytes]]:
    line = socket.create_connection((address, port), 20)
    line.settimeout(PATIENCE)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line.sendall, line.makefile("rb").readline


def asyncio_server(address: str) -> Callable[[int], None]:
    """It counts the lines of each connection."""
    send, line = connected(address, 7000)

    def once(number: int) -> None:
        send(b"hello %d\n" % number)
        expect(line(), b"%d hello %d\n" % (number, number))

    return once


def redis(address: str) -> Callable[[int], None]:
    send, line = connected(address, 6379)
    send(b"DEL counted\r\n")
    line()

    def once(number: int) -> None:
        send(b"INCR counted\r\n")
        expect(line(), b":%d\r\n" % number)

    return once


def nginx(address: str) -> Callable[[int], None]:
    """One connection for as many requests as nginx allows on one."""
    send, line = connected(address, 80)

    def once(number: int) -> None:
        if number > 900:
            return
        send(b"HEAD / HTTP/1.1\r\nHost: guest\r\n\r\n")
        expect(line(), b"HTTP/1.1 200 OK\r\n")
        while line() != b"\r\n":
            pass

    return once


def sshd(address: str, key: str) -> Callable[[int], None]:
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"]
    words = ["ssh", "-tt", "-i", key, *(word for option in options for word in ("-o", option)), f"root@{address}"]
    shell = "stty -echo; while read -r line; do echo got $line; done"
    session = subprocess.Popen([*words, shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert session.stdin is not None
    assert session.stdout is not None
    sent, came = session.stdin, session.stdout

    def once(number: int) -> None:
        sent.write(b"%d\n" % number)
        sent.flush()
        wanted = b"got %d\r\n" % number
        while (line := came.readline()) != wanted:
            if not line:
                raise OSError("the session of sshd ended")

    return once


def expect(found: bytes, wanted: bytes) -> None:
    if found != wanted:
        raise OSError(f"{found!r} came, {wanted!r} should have")


def main() -> None:
    address, key = sys.argv[1:]
    seen: dict[str, object] = {"wrong": ""}
    talks = {"asyncio": asyncio_server(address), "redis": redis(address), "nginx": nginx(address)}
    talks["sshd"] = sshd(address, key)
    number = 0
    while True:
        number += 1
        for name, once in talks.items():
            try:
                once(number)
            except (OSError, AssertionError) as error:
                seen["wrong"] = f"{name}: {error!r}"
                break
            seen[name] = number
        if number == 1:
            print("talking", flush=True)
        if seen["wrong"] or select.select([sys.stdin], [], [], EVERY)[0]:
            break
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main()
