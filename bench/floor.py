"""What the tools of liblxc need by themselves, with no daemon: the floor under every figure of a start, an exec and a stop.

Run in a cell, this module is the program that does it there: it reads one word a line and answers with milliseconds.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.cell import cell
from hutch.imagebuild import cached

FLOOR = "no daemon"
_BRIDGE = "floorbr0"
# Unprivileged, its root idmapped and not chowned, one nic on a bridge, as liblxc does it all itself.
_CONFIG = """
lxc.uts.name = {name}
lxc.rootfs.path = dir:{directory}/rootfs
lxc.rootfs.options = idmap=container
lxc.idmap = u 0 1000000 1000000000
lxc.idmap = g 0 1000000 1000000000
lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed
lxc.net.0.type = veth
lxc.net.0.link = {bridge}
lxc.net.0.flags = up
lxc.net.0.name = eth0
"""


@dataclass
class Floor:
    process: subprocess.Popen[str]

    def ask(self, word: str) -> float:
        """Do it once, `start`, `attach` or `stop`; the milliseconds that it took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        if not (line := self.process.stdout.readline()):
            raise RuntimeError(f"the floor ended at {word}: see its log")
        return float(json.loads(line))


@contextlib.contextmanager
def floor(state: Path, name: str) -> Iterator[Floor]:
    directory = state / "floor"
    root = directory / name / "rootfs"
    root.parent.mkdir(parents=True)
    image = cached("busybox").path
    subprocess.run(["tar", "--zstd", "--numeric-owner", "-xf", image, "-C", root.parent], check=True)
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    argv = [sys.executable, "-m", "bench.floor", str(directory), name]
    with cell(state / "floor-cell", argv, environment, talks=True) as process:
        yield Floor(process)


def _timed(*argv: str) -> float:
    start = time.perf_counter()
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def main(directory: str, name: str) -> None:
    where = ("-P", directory, "-n", name)
    Path(directory, name, "config").write_text(
        _CONFIG.format(name=name, bridge=_BRIDGE, directory=f"{directory}/{name}")
    )
    subprocess.run(["ip", "link", "add", _BRIDGE, "up", "type", "bridge"], check=True)
    verbs: dict[str, Callable[[], float]] = {
        "start": lambda: _timed("lxc-start", *where, "-d"),
        "attach": lambda: _timed("lxc-attach", *where, "--", "true"),
        "stop": lambda: _timed("lxc-stop", *where, "-k"),
    }
    for line in sys.stdin:
        print(json.dumps(verbs[line.strip()]()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
