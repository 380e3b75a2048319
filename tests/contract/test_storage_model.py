"""Random histories of a volume on every driver, compared with plain folders that go through the same."""

import asyncio
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hutch.kernel import credentials, mount
from hutch.storage import layers
from hutch.storage.base import Volume
from tests.contract.pools import IDMAP, Bench, build, filling

IMAGE = "a" * 64
HOST = 1_000_000
# Few names, so that files, folders and links often take each other's places, above and below in the layers.
PATHS = st.sampled_from(["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "c/x", "c", "a/y"])
VOLUMES = st.sampled_from(["v", "w"])
STEPS = st.one_of(
    st.tuples(st.just("write"), PATHS, st.integers(0, 9)),
    st.tuples(st.just("mkdir"), PATHS, st.sampled_from([0o755, 0o700])),
    st.tuples(st.just("symlink"), PATHS, st.sampled_from(["a", "d", "/none"])),
    st.tuples(st.just("link"), PATHS, PATHS),
    st.tuples(st.just("rename"), PATHS, PATHS),
    st.tuples(st.just("delete"), PATHS, st.just(0)),
    st.tuples(st.just("chmod"), PATHS, st.sampled_from([0o640, 0o751, 0o4755])),
    st.tuples(st.just("xattr"), PATHS, st.integers(0, 9)),
    st.tuples(st.just("root"), st.just("."), st.sampled_from([0o755, 0o711])),
)
VERBS = st.one_of(
    st.tuples(st.just("snapshot"), st.sampled_from(["s", "t"]), st.booleans()),
    st.tuples(st.just("restore"), st.sampled_from(["s", "t"]), st.booleans()),
    st.tuples(st.just("copy"), st.sampled_from(["", "s"]), st.booleans()),
    st.tuples(st.just("remount"), st.just(""), st.booleans()),
    st.tuples(st.just("delete"), st.sampled_from(["", "s", "t"]), st.booleans()),
)
HISTORY = st.lists(st.tuples(VOLUMES, st.one_of(STEPS, STEPS, VERBS)), min_size=5, max_size=40)


@filling
def image(root: Path) -> None:
    plant(root)


def plant(root: Path) -> None:
    root.chmod(0o755)
    (root / "d/e").mkdir(parents=True)
    for name in ("a", "d/a", "d/e/a"):
        (root / name).write_text("image")
    (root / "c").symlink_to("d")


def step(root: Path, verb: str, name: str, value: int | str) -> str:
    """Do one thing in a tree; the name of the error that it met."""
    path = root / name
    if any(parent.is_symlink() for parent in [path.parent] if parent != root):
        return "link"
    try:
        _do(root, path, verb, value)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def _do(root: Path, path: Path, verb: str, value: int | str) -> None:
    if verb == "write" and not path.is_symlink():
        path.write_text(str(value) * 10)
    elif verb == "mkdir":
        path.mkdir(mode=int(value))
    elif verb == "symlink":
        path.symlink_to(str(value))
    elif verb == "link" and not (root / str(value)).is_symlink():
        os.link(root / str(value), path)
    elif verb == "rename":
        move(path, root / str(value))
    elif verb == "delete":
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    elif verb in ("chmod", "root") and not path.is_symlink():
        path.chmod(int(value))
    elif verb == "xattr" and not path.is_symlink():
        os.setxattr(path, "user.x", str(value).encode())


def move(source: Path, target: Path) -> None:
    """As mv(1) does it where a folder of an image cannot be renamed."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if target.is_dir():
            target.rmdir()
        elif target.exists():
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory") from None
        if target.is_relative_to(source):
            raise OSError(errno.EINVAL, "Invalid argument") from None
        shutil.copytree(source, target, symlinks=True)
        shutil.rmtree(source)


def listing(root: Path, base: int) -> dict[str, tuple[object, ...]]:
    """What is in a tree, ids counted from `base`."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        if stat.S_ISREG(kind):
            content: object = path.read_text()
        else:
            content = str(path.readlink()) if stat.S_ISLNK(kind) else None
        xattr = os.getxattr(path, "user.x") if "user.x" in os.listxattr(path, follow_symlinks=False) else None
        ids = (status.st_uid - base, status.st_gid - base)
        found[str(path.relative_to(root))] = (kind, stat.S_IMODE(status.st_mode), ids, content, xattr)
    return found


class World:
    """The volumes of a pool and, beside them, folders that should hold the same."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench, self.folder = bench, folder
        self.mounted: dict[str, Path] = {}

    def model(self, volume: Volume) -> Path:
        return self.folder / f"{volume.name}@{volume.snapshot}"

    async def begin(self) -> None:
        await self.bench.pool.create_image(IMAGE, image)
        for name in ("v", "w"):
            await self.make(Volume("container", "default", name))

    async def make(self, volume: Volume) -> None:
        await self.bench.pool.create_volume(volume, image=IMAGE)
        self.model(volume).mkdir()
        plant(self.model(volume))

    async def path(self, name: str) -> Path:
        if name not in self.mounted:
            where = self.bench.place / f"m-{name}"
            where.mkdir(exist_ok=True)
            with mount.closing(await self.bench.pool.mount(Volume("container", "default", name), IDMAP)) as tree:
                mount.attach(tree, where)
            self.mounted[name] = where
        return self.mounted[name]

    def release(self, name: str) -> None:
        if name in self.mounted:
            mount.detach(self.mounted.pop(name))

    def copy_model(self, source: Volume, target: Volume) -> None:
        shutil.rmtree(self.model(target), ignore_errors=True)
        subprocess.run(["cp", "-aT", self.model(source), self.model(target)], check=True)

    async def verb(self, name: str, verb: str, snapshot: str, in_use: bool) -> None:
        volume, pool = Volume("container", "default", name), self.bench.pool
        if verb in ("restore", "delete", "remount") or not in_use:
            self.release(name)
        else:
            await self.path(name)
        known = await pool.has(volume.at(snapshot)) if snapshot else True
        if verb == "snapshot" and not known:
            await pool.snapshot(volume, snapshot)
            self.copy_model(volume, volume.at(snapshot))
        elif verb == "restore" and known:
            await pool.restore(volume, snapshot)
            self.copy_model(volume.at(snapshot), volume)
        elif verb == "copy" and known:
            await self.replace(volume.at(snapshot), Volume("container", "default", "w" if name == "v" else "v"))
        elif verb == "delete" and known:
            await pool.delete(volume.at(snapshot))
            await self.forget(volume, snapshot)

    async def replace(self, source: Volume, target: Volume) -> None:
        """Put a copy in the place of the other volume."""
        self.release(target.name)
        await self.bench.pool.delete(target)
        for model in self.folder.glob(f"{target.name}@*"):
            shutil.rmtree(model)
        await self.bench.pool.copy(source, target)
        self.copy_model(source, target)

    async def forget(self, volume: Volume, snapshot: str) -> None:
        if snapshot:
            shutil.rmtree(self.model(volume.at(snapshot)))
            return
        for model in self.folder.glob(f"{volume.name}@*"):
            shutil.rmtree(model)
        await self.make(volume)

    async def compare(self) -> None:
        volumes = [volume for volume in await self.bench.pool.volumes() if volume.type != "image"]
        assert {self.model(volume) for volume in volumes} == set(self.folder.iterdir())
        for volume in volumes:
            async with self.bench.guest(volume) as guest:
                assert listing(guest.path, HOST) == listing(self.model(volume), 0), volume


async def live(bench: Bench, folder: Path, history: Sequence[tuple[str, tuple[str, str, object]]]) -> None:
    world = World(bench, folder)
    await world.begin()
    for name, (verb, what, value) in history:
        if isinstance(value, bool):
            await world.verb(name, verb, what, value)
            continue
        if verb == "link" and "overlay" in type(bench.pool).__module__:
            continue  # Without an index, overlay breaks a link of a lower layer when one of its names is written to.
        real = await credentials.as_root_of(IDMAP, step, await world.path(name), verb, what, value)
        model = step(world.model(Volume("container", "default", name)), verb, what, value)
        assert real == model, (verb, what, value)
    for name in list(world.mounted):
        world.release(name)
    await world.compare()
    for volume in await bench.pool.volumes():
        await bench.pool.delete(volume)
    await bench.pool.trash.empty()


@pytest.mark.parametrize("kind", ["overlay", "overlay merging", "overlay-xfs", "btrfs", "dir"])
def test_volumes_go_through_any_history_like_plain_folders(
    kind: str, place: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if kind.endswith("merging"):
        monkeypatch.setattr(layers, "DEEP", 2)
    request.addfinalizer(partial(os.umask, os.umask(0)))
    with asyncio.Runner() as runner:
        bench = runner.run(build(kind.partition(" ")[0], place))

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(HISTORY)
        def check(history: list[tuple[str, tuple[str, str, object]]]) -> None:
            folder = place / "model"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                runner.run(live(bench, folder, history))
            finally:
                for entry in mount.below(place):
                    if entry.path.name.startswith("m-"):
                        mount.detach(entry.path)
                runner.run(clean(bench))

        check()
        runner.run(bench.pool.destroy())


async def clean(bench: Bench) -> None:
    for volume in await bench.pool.volumes():
        await bench.pool.delete(volume)
    await bench.pool.trash.empty()
