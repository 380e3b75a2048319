"""A process inside a guest, in its namespaces and as one of its users: for guests that have no program to speak HTTP with.

Run as a program: PID UID NAMESPACES, then lines of JSON on stdin, one request each; one line of JSON for each answer,
and one more at the beginning of an answer of which only so many `lines` are read.
"""

import ctypes
import http.client
import json
import os
import socket
import sys
from typing import Any

KINDS = {"user": 0x1000_0000, "mnt": 0x20000, "pid": 0x2000_0000}


class Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("guest", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def enter(pid: int, uid: int, kinds: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    handles = [(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY), KINDS[kind]) for kind in KINDS if kind in kinds]
    for handle, flag in handles:
        if libc.setns(handle, flag):
            raise OSError(ctypes.get_errno(), "setns")
    if (child := os.fork()) != 0:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


kept: list[socket.socket] = []


def flood(count: int) -> dict[str, Any]:
    """Connections that ask for nothing, kept open; how many of them the other side has taken."""
    for _ in range(count):
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        try:
            connection.connect("/dev/lxd/sock")
        except BlockingIOError:
            break
        kept.append(connection)
    return {"status": len(kept), "text": ""}


def ask(wanted: dict[str, Any]) -> dict[str, Any]:
    if count := wanted.get("flood"):
        return flood(count)
    connection = Connection(wanted.get("socket", "/dev/lxd/sock"))
    try:
        connection.request(wanted.get("method", "GET"), wanted["path"], wanted.get("body"))
        answer = connection.getresponse()
        if lines := wanted.get("lines"):
            print(json.dumps({"status": answer.status, "text": "begun"}), flush=True)
        text = answer.read() if not lines else b"".join(answer.readline() for _ in range(lines))
        return {"status": answer.status, "text": text.decode(errors="replace")}
    except (OSError, http.client.HTTPException) as error:
        return {"status": 0, "text": f"{type(error).__name__}: {error}"}
    finally:
        connection.close()


def main() -> None:
    # Loaded before the files of the host are out of sight.
    "x".encode("idna")
    enter(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(","))
    for line in sys.stdin:
        print(json.dumps(ask(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
