"""Limits of volumes, where the filesystem can keep them and where it cannot."""

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hutch.errors import Unsupported
from hutch.storage.base import Volume
from tests.contract.pools import Bench, Guest, build, filesystem, filling

IMAGE = "f" * 64
C1, C2 = Volume("container", "default", "c1"), Volume("container", "default", "c2")
MIB = 1 << 20


@filling
def image(root: Path) -> None:
    (root / "base").write_bytes(os.urandom(4 * MIB))


@pytest.fixture(params=["overlay", "dir", "btrfs"])
async def limited(request: pytest.FixtureRequest, place: Path) -> AsyncIterator[Bench]:
    """A pool on a filesystem that can limit trees."""
    if request.param == "btrfs":
        made = await build("btrfs", place)
    else:
        options = ("-O", "project,quota", "-E", "quotatype=usrquota:grpquota:prjquota")
        try:
            made = await build(request.param, filesystem(place, "ext4", mkfs=options, options="prjquota"))
        except subprocess.CalledProcessError:
            pytest.skip("the kernel has no project quotas (CONFIG_QFMT_V2)")
    yield made
    await made.pool.trash.empty()
    await made.pool.destroy()


def fill_up(guest: Guest) -> int:
    """Write until nothing more goes; MiB written."""

    def write() -> int:
        for number in range(64):
            try:
                with (guest.path / f"big{number}").open("wb", buffering=0) as file:
                    file.write(os.urandom(MIB))
                    os.fsync(file.fileno())
            except OSError:
                return number
        return 64

    written = guest.do(write)
    assert isinstance(written, int)
    return written


async def test_a_limit_holds_and_can_be_lifted(limited: Bench) -> None:
    pool = limited.pool
    await pool.create_image(IMAGE, image)
    await pool.create_volume(C1, image=IMAGE)
    await pool.set_quota(C1, 20 * MIB)
    async with limited.guest(C1) as guest:
        assert 10 <= fill_up(guest) <= 20
        await pool.set_quota(C1, 30 * MIB)
        assert fill_up(guest) > 20
        await pool.set_quota(C1, 0)
        assert fill_up(guest) == 64


async def test_a_limit_outlives_snapshot_restore_and_restart(limited: Bench) -> None:
    await limited.pool.create_image(IMAGE, image)
    await limited.pool.create_volume(C1, image=IMAGE)
    await limited.pool.set_quota(C1, 20 * MIB)
    async with limited.guest(C1) as guest:
        guest.write("small", "x")
    await limited.pool.snapshot(C1, "s")
    await limited.again()
    await limited.pool.restore(C1, "s")
    async with limited.guest(C1) as guest:
        assert 10 <= fill_up(guest) <= 20


async def test_a_limit_is_of_one_volume(limited: Bench) -> None:
    await limited.pool.create_image(IMAGE, image)
    await limited.pool.create_volume(C1, image=IMAGE)
    await limited.pool.set_quota(C1, 20 * MIB)
    await limited.pool.copy(C1, C2)
    async with limited.guest(C1) as first, limited.guest(C2) as second:
        assert fill_up(first) <= 20
        assert fill_up(second) == 64


@pytest.mark.parametrize("kind", ["overlay", "dir"])
async def test_a_filesystem_without_quotas_says_what_to_do(kind: str, place: Path) -> None:
    bench = await build(kind, filesystem(place, "ext4", "64M"))
    await bench.pool.create_volume(C1)
    await bench.pool.set_quota(C1, 0)
    with pytest.raises(Unsupported, match="prjquota"):
        await bench.pool.set_quota(C1, 20 * MIB)
    await bench.pool.destroy()
