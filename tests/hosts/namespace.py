"""A network and a mount namespace, kept by a process that ends with the test run."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

_CLONE_NEWNET = 0x40000000
# Mounts are shared from here on, as systemd has them on every host, and none comes out to the machine.
_HOLD = "mount --make-rshared / && ip link set lo up && echo ready && exec sleep infinity"


class Namespace:
    def __init__(self) -> None:
        keep = ["unshare", "--net", "--mount", "--propagation", "slave", "setpriv", "--pdeathsig", "KILL"]
        self._holder = subprocess.Popen(
            [*keep, "sh", "-c", _HOLD],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            raise AssertionError("no network namespace could be made: the tests need root")

    @property
    def pid(self) -> int:
        return self._holder.pid

    def command(self, *argv: str | Path) -> list[str]:
        """The argument list that runs a program in here."""
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--", *map(str, argv)]

    def run(
        self,
        *argv: str | Path,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in here to its end, with what it printed; `check` makes a bad status an error that shows it."""
        done = subprocess.run(
            self.command(*argv),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            env={**os.environ, **(env or {})},
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            words = " ".join(map(str, argv))
            raise AssertionError(f"{words}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread in the network of the namespace: sockets that are made here stay there."""
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/proc/thread-self/ns/net").open() as home, Path(f"/proc/{self.pid}/ns/net").open() as there:
            assert libc.setns(there.fileno(), _CLONE_NEWNET) == 0
            try:
                yield
            finally:
                assert libc.setns(home.fileno(), _CLONE_NEWNET) == 0

    def members(self) -> list[int]:
        """Every process in the network namespace, apart from the one that keeps it."""
        here = network_of(self.pid)
        return [pid for pid in pids() if pid != self.pid and network_of(pid) == here]

    def close(self) -> None:
        """End what still runs in here, and the namespaces with it."""
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


def pids() -> list[int]:
    """Every process that has not ended; one that waits to be reaped has."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and not _is_zombie(entry)]


def _is_zombie(entry: Path) -> bool:
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def network_of(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""
