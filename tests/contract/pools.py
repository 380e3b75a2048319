"""Pools for tests, on real filesystems, and their volumes as guests see them."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from hutch import registry
from hutch.kernel import credentials, mount
from hutch.kernel.idmap import default
from hutch.storage import drivers
from hutch.storage.base import Fill, StorageDriver, Volume

IDMAP = default()
DRIVERS = {name: registry.load(drivers, name) for name in registry.names(drivers)}
KINDS = ("overlay", "overlay-xfs", "overlay-btrfs", "btrfs", "btrfs-folder", "dir")


def filling(function: Callable[[Path], None]) -> Fill:
    """What `function` writes, as storage takes it."""

    async def fill(root: Path) -> None:
        await asyncio.to_thread(function, root)

    return fill


def filesystem(folder: Path, fstype: str, size: str = "512M", mkfs: tuple[str, ...] = (), options: str = "") -> Path:
    """A new filesystem on a loop file, mounted below `folder`; it goes with the namespace, or by `unmounted`."""
    image, target = folder / f"{fstype}.img", folder / fstype
    target.mkdir()
    subprocess.run(["truncate", "-s", size, image], check=True)
    subprocess.run([f"mkfs.{fstype}", "-q", *mkfs, image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", f"loop,{options or 'rw'}", image, target], check=True)
    return target


class Guest:
    """A volume as its guest sees it, at a path; calls run as the guest's root."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def do(self, function: Callable[..., object], *args: object, **kwargs: object) -> object:
        return credentials.submit(IDMAP, function, *args, **kwargs).result()

    def write(self, name: str, text: str) -> None:
        self.do((self.path / name).write_text, text)

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def names(self, folder: str = ".") -> list[str]:
        return sorted(entry.name for entry in (self.path / folder).iterdir())


class Bench:
    """A pool under test and a place to mount its volumes."""

    def __init__(self, pool: StorageDriver, place: Path) -> None:
        self.pool, self.place, self._count = pool, place, 0

    @contextlib.asynccontextmanager
    async def guest(self, volume: Volume, *, readonly: bool = False) -> AsyncIterator[Guest]:
        self._count += 1
        path = self.place / f"m{self._count}"
        path.mkdir()
        with mount.closing(await self.pool.mount(volume, IDMAP, readonly=readonly)) as tree:
            mount.attach(tree, path)
        try:
            yield Guest(path)
        finally:
            mount.detach(path)

    async def again(self) -> "Bench":
        """The same pool as a daemon started anew has it."""
        await self.pool.deactivate()
        self.pool = type(self.pool)(self.pool.name, self.pool.path, self.pool.config)
        await self.pool.activate()
        return self


async def build(kind: str, place: Path, size: str = "512MiB") -> Bench:
    driver, _, on = kind.partition("-")
    config: dict[str, str] = {}
    path = place / "storage-pools" / "p"
    if on:
        config["source"] = str(filesystem(place, "btrfs" if on == "folder" else on) / "pool")
        Path(config["source"]).mkdir()
    elif driver == "btrfs":
        config["size"] = size
    made = DRIVERS[driver]
    pool = made("p", path, await made.check(config, path))
    await pool.create()
    await pool.activate()
    return Bench(pool, place)
