"""A host: namespaces, a folder, a daemon in them, and what a test does with it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.hosts import run_folder
from tests.hosts.api import Api, ApiError
from tests.hosts.groups import groups_named
from tests.hosts.namespace import Namespace, pids
from tests.hosts.segment import Segment
from tests.hosts.waiting import wait_until

BIN = Path(__file__).parents[2] / ".venv" / "bin"
INCUS = shutil.which("incus", path=f"{os.environ['PATH']}:/usr/local/lib/hutch/incus")
NETWORK, POOL = "hutchbr0", "default"


class Host:
    """Made with a running daemon. `directory` is the daemon's DIR, `address` the host's own on `segment`.

    `program` is what runs as the daemon, `arguments` are added to its own; a file in `faults` stops it at the point of
    that name (hutch/work/faults.py).
    """

    def __init__(
        self,
        *,
        segment: Segment | None = None,
        lxcfs: bool = True,
        start: bool = True,
        arguments: tuple[str, ...] = (),
        program: tuple[str | Path, ...] = (BIN / "hutchd",),
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="host-", dir=run_folder.folder()))
        self.folder.chmod(0o711)
        self.directory = self.folder / "hutch"
        self.cgroup = run_folder.identity(self.directory)
        self.log = self.folder / "hutchd.log"
        self.faults = self.folder / "faults"
        self.faults.mkdir()
        self.arguments, self.program = arguments, program
        self.api = Api(self.directory / "unix.socket")
        self.daemon: subprocess.Popen[bytes] | None = None
        self._lxcfs: subprocess.Popen[bytes] | None = None
        self.namespace = Namespace()
        try:
            self.address = segment.join(self.namespace) if segment is not None else ""
            if lxcfs and shutil.which("lxcfs") and Path("/dev/fuse").exists():
                self._start_lxcfs()
            if start:
                self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start the daemon and wait until it serves."""
        assert self.daemon is None
        words = self.namespace.command("setpriv", "--pdeathsig", "KILL", *self.program, "--dir", self.directory)
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                [*words, "--debug", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "HUTCH_FAULTS": str(self.faults)},
                start_new_session=True,
            )
        try:
            wait_until(self._is_ready, 30, what="the daemon is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from error

    def _is_ready(self) -> bool:
        assert self.daemon is not None
        if self.daemon.poll() is not None:
            raise AssertionError(f"hutchd ended with status {self.daemon.returncode}")
        with contextlib.suppress(OSError):
            return self.api.raw("GET", "/internal/ready")[0] == 200
        return False

    def stop(self) -> None:
        """End the daemon as systemd does; instances go on."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self.daemon is not None:
            self.daemon.send_signal(number)
            self.daemon.wait(30)
            self.daemon = None

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def run(self, *argv: str | Path, **how: Any) -> subprocess.CompletedProcess[str]:
        """A program on the host."""
        return self.namespace.run(*argv, **how)

    def hutch(self, *argv: str, **how: Any) -> subprocess.CompletedProcess[str]:
        return self.run(BIN / "hutch", *argv, env={"HUTCH_DIR": str(self.directory), **how.pop("env", {})}, **how)

    def lxc(self, *argv: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """Debian's client for LXD."""
        env = {"LXD_DIR": str(self.directory), "LXD_CONF": str(self.folder / "lxc-client")}
        return self.run("lxc", *argv, env=env, **how)

    def incus(self, *argv: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """The client of Incus; `INCUS` is None where there is none."""
        assert INCUS is not None
        env = {"INCUS_DIR": str(self.directory), "INCUS_CONF": str(self.folder / "incus-client")}
        return self.run(INCUS, *argv, env=env, **how)

    def call(self, method: str, path: str, body: Any = None, **how: Any) -> Any:
        return self.api.call(method, path, body, **how)

    def get(self, path: str) -> Any:
        return self.api.get(path)

    def prepare(self, *, driver: str = "overlay") -> None:
        """A pool, a network, and a default profile with a root disk and a nic."""
        self.call("POST", "/1.0/storage-pools", {"name": POOL, "driver": driver})
        self.call("POST", "/1.0/networks", {"name": NETWORK, "type": "bridge"})
        devices = {
            "root": {"type": "disk", "path": "/", "pool": POOL},
            "eth0": {"type": "nic", "network": NETWORK, "name": "eth0"},
        }
        self.call("PUT", "/1.0/profiles/default", {"config": {}, "devices": devices})

    def import_image(self, path: Path, alias: str) -> str:
        """The fingerprint of a unified image, now in the store under the alias."""
        with path.open("rb") as stream:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
            done = self.call("POST", "/1.0/images", stream, headers=headers)
        fingerprint: str = done["metadata"]["fingerprint"]
        self.call("POST", "/1.0/images/aliases", {"name": alias, "target": fingerprint})
        return fingerprint

    def create(self, name: str, image: str, *, start: bool = True, **document: Any) -> None:
        """An instance, started."""
        source = {"type": "image", "alias": image}
        self.call("POST", "/1.0/instances", {"name": name, "source": source, **document})
        if start:
            self.power(name, "start")

    def power(self, name: str, action: str, *, force: bool = False, timeout: int = 30) -> None:
        self.call("PUT", f"/1.0/instances/{name}/state", {"action": action, "force": force, "timeout": timeout})

    def delete(self, name: str) -> None:
        """Stop by force if need be, and delete."""
        with contextlib.suppress(ApiError):
            self.power(name, "stop", force=True)
        self.call("DELETE", f"/1.0/instances/{name}")

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/1.0/instances/{name}/state")
        return found

    def address_of(self, name: str, family: str = "inet", *, nic: str = "eth0", timeout: float = 20) -> str:
        """The guest's global address, once it has one."""

        def ask() -> str:
            entry = (self.state(name)["network"] or {}).get(nic, {"addresses": []})
            found = [item["address"] for item in entry["addresses"] if item["family"] == family]
            return next((item for item in found if not item.startswith(("fe80:", "169.254."))), "")

        return wait_until(ask, timeout, what=f"{name} has an {family} address")

    def exec(self, name: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in a guest and return its status and output."""
        wanted = {"command": list(command), "record-output": True, "wait-for-websocket": False, "interactive": False}
        result = self.call("POST", f"/1.0/instances/{name}/exec", wanted)["metadata"]
        out, err = (self.api.raw("GET", result["output"][stream])[2].decode() for stream in ("1", "2"))
        done = subprocess.CompletedProcess(command, result["return"], out, err)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} in {name}: status {done.returncode}\n{out}{err}")
        return done

    def begin_inside(
        self, name: str, *, uid: int = 0, namespaces: str = "user,mnt,pid", pid: int = 0
    ) -> subprocess.Popen[str]:
        """A process in the guest that takes requests of the guest's API, one JSON a line, and answers each with one."""
        where = [str(pid or self.state(name)["pid"]), str(uid), namespaces]
        words = self.namespace.command(sys.executable, Path(__file__).with_name("inside.py"), *where)
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def guest_api(self, name: str, *paths: str, **how: Any) -> list[tuple[int, str]]:
        """Status and text of what a process inside gets; `how` is of begin_inside, or of each request."""
        where = {key: how.pop(key) for key in ("uid", "namespaces", "pid") if key in how}
        with self.begin_inside(name, **where) as process:
            text = "".join(json.dumps({"path": path, **how}) + "\n" for path in paths)
            output, _ = process.communicate(text, timeout=60)
        return [(each["status"], each["text"]) for each in map(json.loads, output.splitlines())]

    def close(self) -> None:
        """End everything of this host, by force, and remove its folder."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._end(signal.SIGTERM)
        self._end(signal.SIGKILL)
        wait_until(self._kill_all, 10, every=0.05, what="every process of the host has ended")
        if self._lxcfs is not None:
            self._lxcfs.wait()
        self.namespace.close()
        self._remove_cgroups()
        run_folder.remove_tree(self.folder)

    def _kill_all(self) -> bool:
        """Whether nothing of the host runs any more: in its network namespace, or in its control groups."""
        left = {*self.namespace.members(), *(pid for pid in pids() if self.cgroup in _cgroups_of(pid))}
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    def _remove_cgroups(self) -> None:
        """Those of guests that were killed after their daemon had gone; liblxc puts them below the group it was started in."""
        for top in groups_named(self.cgroup):
            for path, _, _ in os.walk(top, topdown=False):
                wait_until(partial(_removed, Path(path)), 5, what=f"{path} is empty")

    def _start_lxcfs(self) -> None:
        """lxcfs where the daemon looks for it, seen in this host's mount namespace only."""
        self.directory.mkdir(mode=0o711)
        point = self.directory / "lxcfs"
        point.mkdir()
        with (self.folder / "lxcfs.log").open("ab") as log:
            self._lxcfs = subprocess.Popen(
                self.namespace.command("lxcfs", "--foreground", f"--pidfile={self.folder}/lxcfs.pid", point),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: self.run("test", "-e", point / "proc/meminfo", check=False).returncode == 0, what="lxcfs")

    def __enter__(self) -> "Host":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _cgroups_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cgroup").read_text()
    return ""


def _removed(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        try:
            path.rmdir()
        except OSError:
            return False
    return True
