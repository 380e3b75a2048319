"""What the tests of the runtime share: a driver of their own in a network namespace of their own, and guests' roots."""

import asyncio
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hutch.kernel import idmap
from hutch.runtime.console import Consoles
from hutch.runtime.drivers.lxc import Driver
from hutch.runtime.enter import Errand
from hutch.runtime.plan import LaunchPlan
from tests.hosts import images, run_folder

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TERM": "dumb"}
_CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def network_namespace() -> Iterator[None]:
    """The calling thread, and what it starts, in a network namespace that is gone afterwards."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        assert _libc.unshare(_CLONE_NEWNET) == 0
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        assert _libc.setns(before, _CLONE_NEWNET) == 0
        os.close(before)


@cache
def image(name: str) -> Path:
    """An image unpacked once: its `rootfs`, with the ids of the guest."""
    folder = Path(tempfile.mkdtemp(prefix="image-", dir=run_folder.folder()))
    folder.chmod(0o711)
    subprocess.run(["tar", "--numeric-owner", "-I", "zstd", "-C", folder, "-xf", images.built(name)], check=True)
    return folder


def new_root(name: str) -> Path:
    """A root of the test's own."""
    folder = Path(tempfile.mkdtemp(prefix="root-", dir=run_folder.folder()))
    folder.chmod(0o711)
    subprocess.run(["cp", "-a", "--reflink=auto", image(name) / "rootfs", folder], check=True)
    return folder / "rootfs"


class Bench:
    """A runtime as a daemon has it. `ended` lists project, name and target of the guests that ended."""

    driver: Driver

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identity = run_folder.identity(folder).removeprefix("hutch-")
        self.ended: list[tuple[str, str, str]] = []
        self.consoles = Consoles(folder)

    async def new_driver(self) -> Driver:
        return await asyncio.to_thread(Driver, self.identity, lambda *what: self.ended.append(what), None)

    async def daemon_dies(self) -> None:
        """Forget all, as a daemon does that is killed, and begin anew."""
        await self.driver.close()
        self.consoles.stop()
        self.driver, self.consoles = await self.new_driver(), Consoles(self.folder)

    def plan(self, name: str, root: Path, **words: Any) -> LaunchPlan:
        """A plan for an unprivileged guest; its root is idmapped by liblxc, which is storage's work in the daemon."""
        words.setdefault("idmap", idmap.default())
        raw = "lxc.rootfs.options = idmap=container\n" if words["idmap"] else ""
        directory = self.folder / "instances" / "default" / name
        directory.mkdir(parents=True, exist_ok=True)
        return LaunchPlan("default", name, directory, root, hostname=name, raw=raw, **words)

    async def run(self, name: str, *command: str, user: int = 0, cwd: str = "/") -> tuple[int, str]:
        """Exit status and output (both streams) of a command in the guest."""
        with tempfile.TemporaryFile() as out, Path(os.devnull).open() as nothing:
            errand = Errand(command, ENVIRONMENT, user, user, cwd)
            stdio = [nothing.fileno(), out.fileno(), out.fileno()]
            session = await self.driver.execute("default", name, errand, stdio=stdio)
            code = await session.wait()
            session.close()
            out.seek(0)
            return code, out.read().decode()

    async def close(self) -> None:
        for folder in (self.folder / "instances" / "default").glob("*"):
            await self.driver.adopt("default", folder.name, folder)
            await self.driver.kill("default", folder.name)
            await self.consoles.close("default", folder.name)
        self.consoles.stop()
        await self.driver.close()


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=run_folder.folder()))
    folder.chmod(0o711)
    if sys.version_info < (3, 12):
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.set_child_watcher(watcher)
    with network_namespace():
        made = Bench(folder)
        made.driver = await made.new_driver()
        try:
            yield made
        finally:
            await made.close()


async def eventually(check: Any, seconds: float = 10) -> None:
    """Wait until `check()` holds."""
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.01)
