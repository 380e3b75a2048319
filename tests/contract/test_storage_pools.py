"""Pools themselves: what they are made on, changed settings, and never touching what was there before."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hutch.errors import Invalid, NotFound, Unsupported
from hutch.storage.base import StorageDriver, Volume
from tests.contract.pools import DRIVERS, Bench, build, filesystem

C1 = Volume("container", "default", "c1")


@pytest.fixture
def device(place: Path) -> Iterator[Path]:
    """A block device of 256 MiB."""
    subprocess.run(["truncate", "-s", "256M", place / "disk"], check=True)
    made = subprocess.run(["losetup", "-f", "--show", place / "disk"], check=True, capture_output=True, text=True)
    yield Path(made.stdout.strip())
    subprocess.run(["umount", "-R", place / "storage-pools/p"], check=False, capture_output=True)
    subprocess.run(["losetup", "-d", made.stdout.strip()], check=True)


async def make(driver: str, place: Path, **config: str) -> StorageDriver:
    path = place / "storage-pools/p"
    pool = DRIVERS[driver]("p", path, await DRIVERS[driver].check(config, path))
    try:
        await pool.create()
        await pool.activate()
    except BaseException:
        await pool.destroy()
        raise
    return pool


@pytest.mark.parametrize("driver", ["overlay", "dir", "btrfs"])
async def test_a_source_must_be_an_existing_empty_folder(driver: str, place: Path) -> None:
    (place / "full").mkdir()
    (place / "full/precious").write_text("x")
    for source, words in (
        (place / "none", "not an existing folder"),
        (place / "full", "not empty"),
        ("x/y", "absolute"),
    ):
        with pytest.raises(Invalid, match=words):
            await make(driver, place, source=str(source))
    with pytest.raises(Invalid, match=r"sauce \(did you mean source\?\)"):
        await make(driver, place, sauce="x")
    assert (place / "full/precious").read_text() == "x"


async def test_destroying_a_pool_in_a_folder_leaves_the_folder_and_what_came_into_it(place: Path) -> None:
    (place / "mine").mkdir()
    pool = await make("overlay", place, source=str(place / "mine"))
    await pool.create_volume(C1)
    (place / "mine/other").write_text("x")
    await pool.destroy()
    assert [path.name for path in (place / "mine").iterdir()] == ["other"]


async def test_btrfs_needs_btrfs_and_sense_in_its_settings(place: Path) -> None:
    (place / "ext4").mkdir()
    with pytest.raises(Invalid, match="not on btrfs"):
        await make("btrfs", place, source=str(place / "ext4"))
    with pytest.raises(Invalid, match="too small"):
        await make("btrfs", place, size="10MiB")
    with pytest.raises(Invalid, match="invalid size"):
        await make("btrfs", place, size="lots")


async def test_a_pool_on_a_block_device_asks_before_it_erases(device: Path, place: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", device], check=True)
    with pytest.raises(Invalid, match=r"holds a ext4 .*source.wipe"):
        await make("btrfs", place, source=str(device))
    subprocess.run(["blkid", "-p", device], check=True, stdout=subprocess.DEVNULL)
    pool = await make("btrfs", place, source=str(device), **{"source.wipe": "true"})
    await pool.create_volume(C1)
    again = await Bench(pool, place).again()
    assert await again.pool.volumes() == [C1]
    await again.pool.destroy()
    assert subprocess.run(["blkid", "-p", device], check=False, stdout=subprocess.DEVNULL).returncode == 2


async def test_the_file_of_an_earlier_pool_is_never_touched(place: Path) -> None:
    first = await make("btrfs", place, size="256MiB")
    await first.create_volume(C1)
    await first.deactivate()
    with pytest.raises(Invalid, match="earlier pool"):
        await make("btrfs", place, size="256MiB")
    stranger = DRIVERS["btrfs"](
        "p", first.path, first.config | {"volatile.uuid": "0e1ff2f8-0000-4000-8000-000000000000"}
    )
    await stranger.destroy()
    await first.activate()
    assert await first.volumes() == [C1]
    await first.destroy()
    assert not list((place / "disks").iterdir())


async def test_a_pool_that_two_daemons_lives_mount_has_one_loop_device(place: Path) -> None:
    pool = await make("btrfs", place, size="256MiB")
    holder = subprocess.Popen(["unshare", "--mount", "sh", "-c", "echo; read _"], stdin=-1, stdout=-1)
    assert holder.stdout
    holder.stdout.readline()
    await pool.deactivate()
    await pool.activate()
    listed = subprocess.run(["losetup", "-j", place / "disks/p.img"], check=True, capture_output=True, text=True)
    assert len(listed.stdout.splitlines()) == 1
    holder.communicate()
    await pool.destroy()
    listed = subprocess.run(["losetup", "-a"], check=True, capture_output=True, text=True)
    assert str(place) not in listed.stdout


async def test_a_pool_in_a_file_grows_while_in_use_but_never_shrinks(place: Path) -> None:
    pool = await make("btrfs", place, size="256MiB")
    await pool.create_volume(C1)
    async with Bench(pool, place).guest(C1) as guest:
        config = await pool.update(pool.config | {"size": "512MiB"})
        guest.write("x", "1")
    assert config["size"] == "512MiB"
    assert (await pool.space()).total == 512 << 20
    with pytest.raises(Invalid, match="smaller"):
        await pool.update(pool.config | {"size": "300MiB"})
    assert (await pool.update({}))["size"] == "512MiB"
    await pool.destroy()


async def test_settings_are_checked_when_changed(place: Path) -> None:
    bench = await build("dir", place)
    changed = await bench.pool.update({"rsync.bwlimit": "1MB", "user.note": "x"})
    assert changed == {"source": str(bench.pool.path), "rsync.bwlimit": "1MB", "user.note": "x"}
    for wrong in ({"source": "/x"}, {"size": "1GiB"}, {"rsync.compression": "maybe"}):
        with pytest.raises(Invalid):
            await bench.pool.update(wrong)
    assert bench.pool.config == changed
    await bench.pool.destroy()


async def test_overlay_on_a_filesystem_that_cannot_says_so_and_leaves_nothing(place: Path) -> None:
    # An overlay cannot be the upper of another.
    for name in ("l", "u", "w", "m"):
        (place / name).mkdir()
    options = f"lowerdir={place}/l,upperdir={place}/u,workdir={place}/w"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", place / "m"], check=True)
    (place / "m/pool").mkdir()
    with pytest.raises(Unsupported, match=r"overlay at .*driver dir"):
        await make("overlay", place, source=str(place / "m/pool"))
    assert not list((place / "m/pool").iterdir())


@pytest.mark.parametrize("driver", ["overlay", "dir"])
async def test_a_pool_whose_folder_is_gone_says_so(driver: str, place: Path) -> None:
    (place / "disk").mkdir()
    pool = await make(driver, place, source=str(place / "disk"))
    await pool.destroy()
    (place / "disk").rmdir()
    with pytest.raises(NotFound, match="is not there"):
        await pool.activate()


async def test_a_size_beyond_the_disk_is_refused(place: Path) -> None:
    small = filesystem(place, "ext4", "20M")
    with pytest.raises(Invalid, match="larger than the disk"):
        await make("btrfs", small, size="256MiB")
    assert [path for path in small.rglob("*") if path.is_file()] == []


async def test_a_pool_killed_while_it_is_made_can_be_destroyed_and_made(place: Path) -> None:
    for point in range(1, 30, 3):
        program = f"""
import asyncio, sys
from pathlib import Path
from tests.contract.killed import kill_at
from tests.contract.pools import build
import hutch.storage.drivers.btrfs
kill_at({point})
asyncio.run(build("btrfs", Path("{place}"), "256MiB"))
"""
        here = Path(__file__).parents[2]
        started = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=here)
        await started.wait()
        files = list((place / "disks").glob("*.img")) if (place / "disks").exists() else []
        config = {"source": str(place / "disks/p.img"), "size": "256MiB", "volatile.uuid": _uuid(files)}
        await DRIVERS["btrfs"]("p", place / "storage-pools/p", config).destroy()
        assert not (place / "disks").exists() or not list((place / "disks").iterdir())
    pool = await make("btrfs", place, size="256MiB")
    await pool.destroy()


def _uuid(files: list[Path]) -> str:
    if not files:
        return "none"
    found = subprocess.run(
        ["blkid", "-p", "-o", "value", "-s", "UUID", files[0]], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()
