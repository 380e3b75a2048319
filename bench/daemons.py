"""The daemons that are measured. Both speak one API, so everything but how they start is the same."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import lxdpackage
from bench.cell import cell, until
from hutch.client.connection import Client, decoded, url
from hutch.client.operations import wait
from hutch.errors import HutchError

HUTCH, LXD = "hutch", "LXD"
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


@dataclass
class Daemon:
    """One running daemon. `pools` are the names of those it was given, the first of them in the default profile."""

    name: str
    client: Client
    command: list[str]
    environment: Mapping[str, str]
    pools: dict[str, dict[str, str]]
    prefix: str
    made: int = field(default=0)

    def fresh(self) -> str:
        """A name that no instance had yet."""
        self.made += 1
        return f"{self.prefix}-{self.made}"

    def cli(self, *words: str) -> str:
        argv = [*self.command, *words]
        done = subprocess.run(
            argv, env=dict(self.environment), capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def do(self, method: str, path: str, document: Any = None) -> dict[str, Any]:
        """One request, and the end of the operation if it began one."""
        reply = self.client.request(method, path, document)
        return wait(self.client, reply.operation) if reply.operation else reply.metadata

    def pid(self) -> int:
        """The daemon's process, by the kernel's word for the listening end of its socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(self.client.socket_path)
            return int(struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])

    def set_up(self, images: Mapping[str, Path]) -> None:
        """A bridge with its own addresses, the pools, a profile that uses them, and the images."""
        self.do("POST", url("networks"), {"name": "benchbr0", "type": "bridge", "config": {}})
        for pool, config in self.pools.items():
            self.do("POST", url("storage-pools"), {"name": pool, "driver": pool, "config": config})
        devices = {
            "root": {"type": "disk", "path": "/", "pool": next(iter(self.pools))},
            "eth0": {"type": "nic", "network": "benchbr0", "name": "eth0"},
        }
        self.do("PUT", url("profiles", "default"), {"config": {}, "devices": devices})
        for alias, path in images.items():
            self._import(alias, path)

    def _import(self, alias: str, path: Path) -> None:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
        with path.open("rb") as file:
            reply = decoded(self.client.stream("POST", url("images"), file, headers=headers))
        fingerprint = wait(self.client, reply.operation)["metadata"]["fingerprint"]
        self.do("POST", url("images", "aliases"), {"name": alias, "target": fingerprint})


def answers(client: Client) -> bool:
    """Whether the daemon serves."""
    with contextlib.suppress(HutchError):
        return bool(client.get("/1.0"))
    client.close()
    return False


@contextlib.contextmanager
def hutch(state: Path, pools: dict[str, dict[str, str]], prefix: str) -> Iterator[Daemon]:
    """This checkout's hutchd."""
    directory, programs = state / "hutch", Path(sys.prefix) / "bin"
    environment = {**_ENVIRONMENT, "HUTCH_DIR": str(directory)}
    with cell(state / "hutch-cell", [programs / "hutchd", "--dir", directory], environment):
        client = Client(str(directory / "unix.socket"))
        until(lambda: answers(client), "hutchd to answer")
        yield Daemon(HUTCH, client, [str(programs / "hutch")], environment, pools, prefix)


@contextlib.contextmanager
def lxd(state: Path, pools: dict[str, dict[str, str]], prefix: str) -> Iterator[Daemon]:
    """Debian's LXD, unpacked beside the system instead of installed into it."""
    root = lxdpackage.unpacked()
    directory = state / "lxd"
    directory.mkdir(mode=0o711)
    environment = {
        **_ENVIRONMENT,
        "PATH": f"{root}/usr/bin:{_ENVIRONMENT['PATH']}",
        "LD_LIBRARY_PATH": f"{root}/usr/lib/{os.uname().machine}-linux-gnu",
        "LXD_DIR": str(directory),
        "LXD_CONF": str(state / "lxc"),
    }
    with cell(state / "lxd-cell", [root / "usr/bin/lxd", "--group", "root"], environment):
        client = Client(str(directory / "unix.socket"))
        until(lambda: answers(client), "LXD to answer")
        yield Daemon(LXD, client, [str(root / "usr/bin/lxc")], environment, pools, prefix)
