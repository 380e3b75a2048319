"""A guest with the programs that people run, somebody outside who talks to them, and what must be true of them afterwards."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hutch.imagebuild import recipe
from hutch.imagebuild.build import build
from tests.hosts import Host, wait_until
from tests.hosts.namespace import Namespace

CONFIG = {"migration.stateful": "true"}
CROWD = 200
_HERE = Path(__file__).parent
_PROGRAMS = ("nginx", "redis-server", "postgres", "cron", "sshd", "python3", "sleep")
_UNITS = ("nginx", "redis-server", "postgresql@15-main", "cron", "ssh", "echo-server", "crowd")


@cache
def image() -> Path:
    """The unified image of the guest, from the machine's cache."""
    return build(recipe.load(_HERE / "workloads.yaml")).path


class Workloads:
    """The guest `name`, which is up; `outside` is where those are who talk to it."""

    def __init__(self, host: Host, name: str, outside: Namespace) -> None:
        self.name, self.outside = name, outside
        wait_until(lambda: self._are_up(host), 90, every=0.3, what="every program is up")
        self.address = host.address_of(name, timeout=60)
        self._sql(host, "create table kept (word text)")
        self._sql(host, "insert into kept values ('before')")
        host.exec(name, "redis-cli", "set", "kept", "before")
        self._authorize(host)
        self.pids = self._pids(host)
        assert len(self.pids["sleep"]) == CROWD

    def _are_up(self, host: Host) -> bool:
        done = host.exec(self.name, "systemctl", "is-active", *_UNITS, check=False)
        return done.stdout == "active\n" * len(_UNITS) and len(self._pids(host).get("sleep", [])) == CROWD

    def _pids(self, host: Host) -> dict[str, list[str]]:
        """Those of programs that stay, by name; postgres has its own children come and go."""
        found: dict[str, list[str]] = {}
        lines = host.exec(self.name, "ps", "--no-headers", "-axo", "pid,ppid,comm").stdout.splitlines()
        for pid, parent, comm in (line.split(None, 2) for line in lines):
            if comm in _PROGRAMS and (parent == "1" or comm in ("sleep", "nginx")):
                found.setdefault(comm, []).append(pid)
        return {comm: sorted(pids) for comm, pids in found.items()}

    def _sql(self, host: Host, command: str) -> str:
        words = ["runuser", "-u", "postgres", "--", "psql", "-Atqc", command]
        return host.exec(self.name, *words).stdout.strip()

    def _authorize(self, host: Host) -> None:
        self._key = host.folder / f"key-of-{self.name}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)], check=True)
        public = self._key.with_suffix(".pub").read_bytes()
        host.exec(self.name, "mkdir", "-p", "-m", "700", "/root/.ssh")
        path = f"/1.0/instances/{self.name}/files?path=/root/.ssh/authorized_keys"
        host.call("POST", path, public, headers={"X-LXD-mode": "0600"})

    @contextmanager
    def talk(self) -> Iterator[dict[str, Any]]:
        """Connections to nginx, redis and the asyncio server, and a session of sshd with a terminal, in use meanwhile.

        Afterwards the dictionary tells how often each was answered, and in `wrong` what went wrong (empty: nothing).
        """
        seen: dict[str, Any] = {}
        words = self.outside.command(sys.executable, "-I", "-S", _HERE / "talker.py", self.address, self._key)
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as talker:
            try:
                assert talker.stdout is not None
                assert talker.stdout.readline() == "talking\n"
                yield seen
            except BaseException:
                talker.kill()
                raise
            out, _ = talker.communicate(timeout=90)
        seen |= json.loads(out)

    def check(self, host: Host) -> None:
        """Every program goes on where it was, and does what it did; `host` is where the guest is now."""
        name = self.name
        assert self._pids(host) == self.pids
        assert host.exec(name, "systemctl", "is-active", *_UNITS).stdout == "active\n" * len(_UNITS)
        assert host.exec(name, "systemctl", "is-system-running").stdout == "running\n"
        assert host.exec(name, "redis-cli", "get", "kept").stdout == "before\n"
        assert self._sql(host, "select word from kept") == "before"
        self._sql(host, "checkpoint")
        self._sql(host, "insert into kept values ('after')")
        assert self._sql(host, "delete from kept where word = 'after' returning word") == "after"
        with self.talk() as seen:
            pass
        assert seen["wrong"] == ""
        host.exec(name, "systemctl", "restart", "nginx")
        self.pids = self._pids(host)
