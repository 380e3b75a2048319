"""A program that does storage work in children which it has killed at one point after another, and looks at what is left.

    python -m tests.contract.killed KIND FOLDER

Points are the audit events of Python that stand for calls which change or open something. Prints the points tried for
each piece of work; ends with 1 and the reason when something was found broken.
"""

import asyncio
import json
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from hutch.kernel import credentials, mount
from hutch.storage import layers
from hutch.storage.base import StorageDriver, Volume
from tests.contract.pools import DRIVERS, IDMAP, build, filling

IMAGE = "a" * 64
C1, C2 = Volume("container", "default", "c1"), Volume("container", "default", "c2")
_EVENTS = {
    "open",
    "fcntl.ioctl",
    "subprocess.Popen",
    *(
        f"os.{name}"
        for name in ("rename", "mkdir", "rmdir", "remove", "chmod", "chown", "setxattr", "removexattr", "utime")
    ),
}
Work = Callable[[StorageDriver], Awaitable[None]]


@filling
def image(root: Path) -> None:
    (root / "etc").mkdir()
    for number in range(20):
        (root / "etc" / str(number)).write_text("image")


async def put(pool: StorageDriver, volume: Volume, mark: str) -> None:
    """Write the mark into two files, so that half a state is seen."""

    def write() -> None:
        for name in ("one", "two"):
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, dir_fd=tree)
            os.write(descriptor, mark.encode())
            os.close(descriptor)

    with mount.closing(await pool.mount(volume, IDMAP)) as tree:
        await credentials.as_root_of(IDMAP, write)


async def look(pool: StorageDriver, volume: Volume) -> str:
    """The mark of a volume, after a look at whether it is whole."""
    with mount.closing(await pool.mount(volume, IDMAP)) as tree:
        root = Path(f"/proc/self/fd/{tree}")
        assert len(list((root / "etc").iterdir())) == 20, f"{volume} has lost files"
        if volume.type == "image":
            return "image"
        one, two = ((root / name).read_text() if (root / name).exists() else "-" for name in ("one", "two"))
        assert one == two, f"{volume} holds half a state"
        return one


async def copy_in_use(pool: StorageDriver) -> None:
    with mount.closing(await pool.mount(C1, IDMAP)):
        await pool.copy(C1, C2, snapshots=["s"])


async def snapshot_in_use(pool: StorageDriver) -> None:
    with mount.closing(await pool.mount(C1, IDMAP)):
        await pool.snapshot(C1, "t")


S = {"c1": "1", "c1/s": "0"}
WORKS: dict[str, tuple[Work, list[dict[str, str]]]] = {
    "create": (lambda pool: pool.create_volume(C2, image=IMAGE), [S, {**S, "c2": "-"}]),
    "fill": (lambda pool: pool.create_volume(C2, fill=image), [S, {**S, "c2": "-"}]),
    "snapshot": (lambda pool: pool.snapshot(C1, "t"), [S, {**S, "c1/t": "1"}]),
    "snapshot in use": (snapshot_in_use, [S, {**S, "c1/t": "1"}]),
    "copy": (lambda pool: pool.copy(C1, C2, snapshots=["s"]), [S, {**S, "c2": "1", "c2/s": "0"}]),
    "copy in use": (copy_in_use, [S, {**S, "c2": "1", "c2/s": "0"}]),
    "restore": (lambda pool: pool.restore(C1, "s"), [S, {"c1": "0", "c1/s": "0"}]),
    "rename": (lambda pool: pool.rename(C1, "c2"), [S, {"c2": "1", "c2/s": "0"}]),
    "delete": (lambda pool: pool.delete(C1), [S, {}]),
    "delete snapshot": (lambda pool: pool.delete(C1.at("s")), [S, {"c1": "1"}]),
}


async def reset(pool: StorageDriver) -> None:
    for volume in await pool.volumes():
        if volume.type != "image":
            await pool.delete(volume)
    await pool.create_image(IMAGE, image)
    await pool.create_volume(C1, image=IMAGE)
    await put(pool, C1, "0")
    await pool.snapshot(C1, "s")
    await put(pool, C1, "1")
    await pool.trash.empty()


async def verify(pool: StorageDriver, allowed: list[dict[str, str]]) -> None:
    await pool.trash.empty()
    found = {}
    for volume in await pool.volumes():
        label = f"{volume.name}/{volume.snapshot}" if volume.snapshot else volume.name
        found[label] = await look(pool, volume)
    assert found.pop(IMAGE) == "image"
    assert found in allowed, f"{found} is none of {allowed}"
    await check_independence(pool)
    for name in ("new", "trash"):
        assert not list((pool.root / name).iterdir()), f"{name} is not empty"
    if hasattr(pool, "layers"):
        used = {layer for _, stack in pool.layers.users() for layer in stack.all} | {"empty"}
        assert {path.name for path in pool.layers.folder.iterdir()} == used, "layers are left over"


async def check_independence(pool: StorageDriver) -> None:
    """Writing to one volume changes no other volume and no snapshot."""
    everything = await pool.volumes()
    for volume in everything:
        if volume.type != "image" and not volume.snapshot:
            others = {other: await look(pool, other) for other in everything if other != volume}
            await put(pool, volume, f"now {volume.name}")
            assert others == {other: await look(pool, other) for other in others}, f"{volume} writes into others"


def child(pool: Callable[[], StorageDriver], work: Work, point: int = 0) -> int:
    """Do the work in a child that is killed at the point; its wait status."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    status = 1
    try:
        asyncio.run(started(pool(), work, point))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


async def started(pool: StorageDriver, work: Work, point: int) -> None:
    await pool.activate()
    await pool.trash.empty()
    if point:
        kill_at(point)
    await work(pool)
    await pool.trash.empty()


def kill_at(point: int) -> None:
    left = [point]

    def hook(event: str, _: object) -> None:
        if event in _EVENTS:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main(kind: str, place: Path) -> None:
    kind, _, merging = kind.partition(" ")
    if merging:
        layers.DEEP = 2
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        made = asyncio.run(build(kind, place))
        os.write(writer, json.dumps(made.pool.config).encode())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    config = json.loads(os.read(reader, 65536))

    def pool() -> StorageDriver:
        return DRIVERS[kind]("p", place / "storage-pools" / "p", config)

    for name, (work, allowed) in WORKS.items():
        point, status = 1, int(signal.SIGKILL)
        while status == signal.SIGKILL:
            assert child(pool, reset) == 0, f"{name}: cannot begin anew after point {point}"
            status = child(pool, work, point)
            assert status in (0, signal.SIGKILL), f"{name} failed at point {point}"
            assert child(pool, partial(verify, allowed=allowed)) == 0, f"{name} killed at point {point}"
            point += 1
        print(f"{name}: {point}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
