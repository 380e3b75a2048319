"""What every storage driver promises, on real filesystems."""

import asyncio
import contextlib
import itertools
import os
import stat
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from hutch.errors import AlreadyExists, Conflict, HutchError, NotFound
from hutch.kernel import btrfs, mount
from hutch.storage import layers
from hutch.storage.base import Volume
from tests.contract.pools import IDMAP, Bench, Guest, build, filesystem, filling

IMAGE = "f" * 64
C1, C2 = Volume("container", "default", "c1"), Volume("container", "default", "c2")
HOST = 1_000_000
# A posix ACL as the kernel stores it: version 2, then tag, permission, id (acl(5)); user 1000 may read.
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in ((1, 7, 0xFFFFFFFF), (2, 4, 1000), (4, 5, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF), (32, 5, 0xFFFFFFFF))
)


@filling
def fill(root: Path) -> None:
    """An image with everything that a copy can lose."""
    for name in ("etc", "usr", "usr/share", "var"):
        (root / name).mkdir()
    (root / "etc/hostname").write_text("image\n")
    (root / "usr/share/doc").write_text("doc")
    (root / "usr/su").write_text("#!")
    (root / "usr/su").chmod(0o4755)
    os.link(root / "usr/su", root / "usr/su-too")
    (root / "link").symlink_to("etc/hostname")
    os.mkfifo(root / "fifo", 0o640)
    os.setxattr(root / "etc/hostname", "user.note", b"kept")
    os.setxattr(root / "usr/share", "system.posix_acl_access", ACL)
    os.chown(root / "var", 33, 44)
    with (root / "sparse").open("wb") as file:
        file.truncate(50 << 20)
        file.seek(20 << 20)
        file.write(b"x")
    subprocess.run(["setcap", "cap_net_raw+ep", root / "usr/share/doc"], check=True)
    os.utime(root / "usr/su", ns=(1_500_000_000_123_456_789,) * 2)


async def started(bench: Bench, *names: str) -> None:
    await bench.pool.create_image(IMAGE, fill)
    for name in names or ("c1",):
        await bench.pool.create_volume(Volume("container", "default", name), image=IMAGE)


def check_image(guest: Guest) -> None:
    root = guest.path
    assert (root / "etc/hostname").stat().st_uid == HOST
    assert ((root / "var").stat().st_uid, (root / "var").stat().st_gid) == (HOST + 33, HOST + 44)
    assert stat.S_IMODE((root / "usr/su").stat().st_mode) == 0o4755
    assert (root / "usr/su").stat().st_mtime_ns == 1_500_000_000_123_456_789
    assert (root / "usr/su").stat().st_nlink == 2
    assert (root / "usr/su").stat().st_ino == (root / "usr/su-too").stat().st_ino
    assert (root / "link").readlink() == Path("etc/hostname")
    assert stat.S_ISFIFO((root / "fifo").lstat().st_mode)
    assert os.getxattr(root / "etc/hostname", "user.note") == b"kept"
    assert struct.pack("<HHI", 2, 4, HOST + 1000) in os.getxattr(root / "usr/share", "system.posix_acl_access")
    assert (
        "cap_net_raw" in subprocess.run(["getcap", "-n", root / "usr/share/doc"], capture_output=True, text=True).stdout
    )
    assert (root / "sparse").stat().st_size == 50 << 20
    assert (root / "sparse").stat().st_blocks * 512 < 1 << 20
    assert root.stat().st_uid == HOST
    assert stat.S_IMODE(root.stat().st_mode) == 0o755


async def test_everything_of_an_image_is_kept_in_volume_snapshot_and_copy(bench: Bench) -> None:
    await started(bench)
    await bench.pool.snapshot(C1, "s")
    await bench.pool.copy(C1, C2, snapshots=["s"])
    await bench.pool.copy(C1.at("s"), Volume("container", "default", "c3"))
    for volume in await bench.pool.volumes():
        async with bench.guest(volume) as guest:
            check_image(guest)


async def test_the_guests_root_owns_what_it_writes_and_ids_on_disk_are_the_guests(bench: Bench) -> None:
    await started(bench)
    async with bench.guest(C1) as guest:
        guest.write("new", "x")
        guest.do(os.chown, guest.path / "new", HOST + 7, HOST + 8)
        guest.do(os.mkdir, guest.path / "etc/deep", 0o751)
        guest.do((guest.path / "etc/hostname").write_text, "changed")
        guest.do(os.rename, guest.path / "usr/share/doc", guest.path / "etc/deep/doc")
        assert ((guest.path / "new").stat().st_uid, (guest.path / "new").stat().st_gid) == (HOST + 7, HOST + 8)
        assert stat.S_IMODE((guest.path / "etc/deep").stat().st_mode) == 0o751
    with mount.closing(await bench.pool.mount(C1, [])) as tree:
        root = Path(f"/proc/self/fd/{tree}")
        assert ((root / "new").stat().st_uid, (root / "new").stat().st_gid) == (7, 8)
        assert (root / "etc/deep").stat().st_uid == 0
        assert (root / "etc/hostname").read_text() == "changed"


async def test_snapshots_keep_what_was_there_whether_the_volume_was_in_use_or_not(bench: Bench) -> None:
    await started(bench)
    async with bench.guest(C1) as guest:
        guest.write("a", "1")
        guest.do(os.unlink, guest.path / "link")
        await bench.pool.snapshot(C1, "used")
        guest.write("a", "2")
        guest.write("b", "2")
    await bench.pool.snapshot(C1, "stopped")
    async with bench.guest(C1) as guest:
        guest.write("a", "3")
        guest.do(os.unlink, guest.path / "b")
    async with bench.guest(C1.at("used")) as used, bench.guest(C1.at("stopped")) as stopped:
        assert (used.read("a"), "b" in used.names(), "link" in used.names()) == ("1", False, False)
        assert (stopped.read("a"), stopped.read("b")) == ("2", "2")
    async with bench.guest(C1) as guest:
        assert (guest.read("a"), "b" in guest.names()) == ("3", False)


async def test_a_mount_that_only_another_namespace_sees_does_not_write_into_snapshots(bench: Bench) -> None:
    await started(bench)
    async with bench.guest(C1) as guest:
        holder = subprocess.Popen(["unshare", "--mount", "sh", "-c", "echo; read _"], stdin=-1, stdout=-1)
        assert holder.stdout
        holder.stdout.readline()
        hidden = Guest(Path(f"/proc/{holder.pid}/root{guest.path}"))
    try:
        hidden.write("a", "1")
        await (await bench.again()).pool.snapshot(C1, "s")
        await bench.pool.copy(C1, C2)
        hidden.write("a", "2")
        for volume in (C1.at("s"), C2):
            async with bench.guest(volume) as seen:
                assert seen.read("a") == "1"
        assert hidden.read("a") == "2"
    finally:
        holder.communicate()


async def test_restore_brings_back_a_snapshot_exactly(bench: Bench) -> None:
    await started(bench)
    async with bench.guest(C1) as guest:
        guest.write("mine", "1")
    await bench.pool.snapshot(C1, "s")
    async with bench.guest(C1) as guest:
        guest.do(subprocess.run, ["rm", "-r", guest.path / "usr"], check=True)
        guest.do(os.mkdir, guest.path / "usr")
        guest.write("usr/only", "x")
        guest.write("mine", "2")
    await bench.pool.snapshot(C1, "t")
    for _ in range(2):
        await bench.pool.restore(C1, "s")
        async with bench.guest(C1) as guest:
            check_image(guest)
            assert guest.read("mine") == "1"
            guest.write("mine", "3")
    await bench.pool.restore(C1, "t")
    async with bench.guest(C1) as guest:
        assert guest.names("usr") == ["only"]
        assert guest.read("mine") == "2"


async def test_a_folder_made_again_hides_the_old_one_also_in_copies(bench: Bench) -> None:
    await started(bench)
    async with bench.guest(C1) as guest:
        guest.do(subprocess.run, ["rm", "-r", guest.path / "usr"], check=True)
        guest.do(os.mkdir, guest.path / "usr", 0o700)
        await bench.pool.copy(C1, C2)
    await bench.pool.snapshot(C1, "s")
    for volume in (C1, C2, C1.at("s")):
        async with bench.guest(volume) as guest:
            assert guest.names("usr") == []
            assert stat.S_IMODE((guest.path / "usr").stat().st_mode) == 0o700


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
async def test_what_is_left_stays_whole_when_others_are_deleted(bench: Bench, order: Sequence[int]) -> None:
    await started(bench)
    async with bench.guest(C1) as guest:
        guest.write("mine", "1")
    await bench.pool.snapshot(C1, "s")
    await bench.pool.copy(C1.at("s"), C2)
    await bench.pool.copy(C1, Volume("container", "default", "c3"))
    left = [Volume("image", "", IMAGE), C1.at("s"), C2, Volume("container", "default", "c3")]
    for number in order:
        gone = [Volume("image", "", IMAGE), C1.at("s"), C2, Volume("container", "default", "c3")][number]
        await bench.pool.delete(gone)
        left.remove(gone)
        assert set(await bench.pool.volumes()) == {C1, *left}
        for volume in [C1, *left]:
            async with bench.guest(volume) as guest:
                check_image(guest)
                assert volume.type == "image" or guest.read("mine") == "1"
    await bench.pool.delete(C1)
    await bench.pool.delete(C1)
    await bench.pool.trash.empty()
    assert await bench.pool.volumes() == []
    assert leftovers(bench) == []


def leftovers(bench: Bench) -> list[Path]:
    """What a pool without volumes should not have."""
    root = bench.pool.root
    kept = {root / "layers/empty", root / "layers/empty/tree", root / "layers/empty/work"}
    kinds = {root / "volumes" / kind for kind in ("image", "container", "custom")}
    return [path for folder in root.iterdir() for path in folder.rglob("*") if path not in kept | kinds]


async def test_deleting_a_volume_takes_its_snapshots_but_not_its_copies(bench: Bench) -> None:
    await started(bench)
    await bench.pool.snapshot(C1, "s")
    await bench.pool.copy(C1, C2, snapshots=["s"])
    await bench.pool.delete(C1)
    assert set(await bench.pool.volumes()) == {Volume("image", "", IMAGE), C2, C2.at("s")}
    async with bench.guest(C2.at("s")) as guest:
        check_image(guest)


async def test_an_image_deleted_and_made_again_serves_again(bench: Bench) -> None:
    await started(bench)
    await bench.pool.delete(Volume("image", "", IMAGE))
    assert not await bench.pool.has(Volume("image", "any", IMAGE))
    with pytest.raises(NotFound, match=IMAGE):
        await bench.pool.create_volume(C2, image=IMAGE)
    await bench.pool.create_image(IMAGE, fill)
    await bench.pool.create_image(IMAGE, fill)
    await bench.pool.create_volume(C2, image=IMAGE)
    for volume in (C1, C2):
        async with bench.guest(volume) as guest:
            check_image(guest)


async def test_renaming_takes_snapshots_along_and_a_taken_name_is_refused(bench: Bench) -> None:
    await started(bench, "c1", "c2")
    await bench.pool.snapshot(C1, "s")
    await bench.pool.snapshot(C1, "t")
    for name in ("c2", "c1"):
        with pytest.raises(AlreadyExists, match=name):
            await bench.pool.rename(C1, name)
    with pytest.raises(AlreadyExists, match="c1/t"):
        await bench.pool.rename(C1.at("s"), "t")
    with pytest.raises(AlreadyExists, match="c1/t"):
        await bench.pool.snapshot(C1, "t")
    with pytest.raises(AlreadyExists, match="c2"):
        await bench.pool.create_volume(C2, image=IMAGE)
    await bench.pool.rename(C1, "c3")
    await bench.pool.rename(Volume("container", "default", "c3", "s"), "u")
    names = {(volume.name, volume.snapshot) for volume in await bench.pool.volumes() if volume.type != "image"}
    assert names == {("c2", ""), ("c3", ""), ("c3", "u"), ("c3", "t")}


async def test_volumes_without_an_image_are_filled_or_empty(bench: Bench) -> None:
    custom = Volume("custom", "other", "data_1")
    await bench.pool.create_volume(custom)
    await bench.pool.create_volume(C1, fill=fill)
    assert set(await bench.pool.volumes()) == {custom, C1}
    async with bench.guest(custom) as guest:
        assert guest.names() == []
        guest.write("x", "1")
        await bench.pool.snapshot(custom, "s")
        guest.write("x", "2")
    async with bench.guest(custom.at("s")) as guest:
        assert guest.read("x") == "1"
    async with bench.guest(C1) as guest:
        check_image(guest)


async def test_snapshots_and_read_only_mounts_cannot_be_written(bench: Bench) -> None:
    await started(bench)
    async with bench.guest(C1) as guest:
        guest.write("x", "1")
    await bench.pool.snapshot(C1, "s")
    for volume, readonly in ((C1.at("s"), False), (C1, True)):
        async with bench.guest(volume, readonly=readonly) as guest:
            assert guest.read("x") == "1"
            with pytest.raises(OSError, match="Read-only"):
                guest.write("x", "2")


async def test_a_device_node_in_an_image_opens_nothing_for_a_shifted_guest(bench: Bench) -> None:
    @filling
    def with_device(root: Path) -> None:
        os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))

    await bench.pool.create_volume(C1, fill=with_device)
    async with bench.guest(C1) as guest:
        with pytest.raises(PermissionError):
            guest.read("null")


@pytest.mark.parametrize("kind", ["overlay", "btrfs", "dir"])
async def test_a_full_disk_is_a_sentence_with_the_pool_and_leaves_nothing(kind: str, place: Path) -> None:
    bench = await small(kind, place)

    @filling
    def too_much(root: Path) -> None:
        for number in range(400):
            (root / str(number)).write_bytes(os.urandom(1 << 20))

    await bench.pool.trash.empty()
    before = set(bench.pool.root.rglob("*"))
    with pytest.raises(HutchError, match="no space left on pool p"):
        await bench.pool.create_image(IMAGE, too_much)
    await bench.pool.trash.empty()
    with pytest.raises(HutchError, match="no space left on pool p"):
        await bench.pool.create_volume(C1, fill=too_much)
    await bench.pool.trash.empty()
    assert set(bench.pool.root.rglob("*")) == before
    if kind != "btrfs":  # It frees the space of deleted subvolumes up to half a minute later.
        await started(bench)
    await bench.pool.destroy()


async def small(kind: str, place: Path) -> Bench:
    """A pool of 256 MiB or less."""
    if kind == "btrfs":
        return await build("btrfs", place, "256MiB")
    return await build(kind, filesystem(place, "ext4", "64M"))


async def test_a_failed_fill_leaves_nothing(bench: Bench) -> None:
    @filling
    def fails(root: Path) -> None:
        (root / "x").mkdir()
        raise OSError(5, "Input/output error")

    for attempt in (bench.pool.create_image(IMAGE, fails), bench.pool.create_volume(C1, fill=fails)):
        with pytest.raises(OSError, match="Input/output"):
            await attempt
    await bench.pool.trash.empty()
    assert leftovers(bench) == []


async def test_a_cancelled_creation_leaves_nothing(bench: Bench) -> None:
    begun = asyncio.Event()

    async def hangs(_: Path) -> None:
        begun.set()
        await asyncio.sleep(3600)

    task = asyncio.create_task(bench.pool.create_image(IMAGE, hangs))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.pool.trash.empty()
    assert leftovers(bench) == []


async def test_cancelling_at_any_moment_leaves_a_whole_volume_or_none(bench: Bench) -> None:
    await started(bench)
    for milliseconds in range(0, 12, 2):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(milliseconds / 1000):
                await bench.pool.copy(C1, C2)
        if await bench.pool.has(C2):
            async with bench.guest(C2) as guest:
                check_image(guest)
            await bench.pool.delete(C2)
    await bench.pool.trash.empty()
    assert not list((bench.pool.root / "new").iterdir())


async def test_names_cannot_leave_the_pool(bench: Bench) -> None:
    for name in ("../x", "a/b", "", "."):
        with pytest.raises(HutchError, match="name"):
            await bench.pool.create_volume(Volume("image", "", name))
    with pytest.raises(HutchError, match="name"):
        await bench.pool.snapshot(C1, "../x")


async def test_what_does_not_exist_is_named(bench: Bench) -> None:
    with pytest.raises(NotFound, match="'c1'"):
        await bench.pool.mount(C1, IDMAP)
    with pytest.raises(NotFound, match="'c1'"):
        await bench.pool.snapshot(C1, "s")
    await started(bench)
    with pytest.raises(NotFound, match="'c1/s'"):
        await bench.pool.restore(C1, "s")


async def test_usage_is_that_of_the_volume_and_not_of_its_image(bench: Bench) -> None:
    full_copies = type(bench.pool).__module__.endswith(".dir")

    @filling
    def big(root: Path) -> None:
        (root / "big").write_bytes(os.urandom(20 << 20))

    await bench.pool.create_image(IMAGE, big)
    await bench.pool.create_volume(C1, image=IMAGE)
    async with bench.guest(C1) as guest:
        guest.do((guest.path / "mine").write_bytes, os.urandom(5 << 20))
    subprocess.run(["sync", "-f", bench.pool.root], check=True)
    used = await bench.pool.usage(C1)
    assert (5 << 20) <= used < (6 << 20) + (20 << 20) * full_copies
    space = await bench.pool.space()
    assert space.used > 25 << 20
    assert space.total > space.used


async def test_no_descriptor_and_no_mount_is_left(bench: Bench) -> None:
    async def cycle() -> None:
        async with bench.guest(C1) as guest:
            guest.write("x", "1")
            await bench.pool.snapshot(C1, "s")
        await bench.pool.copy(C1, C2, snapshots=["s"])
        await bench.pool.restore(C1, "s")
        await bench.pool.delete(C2)
        await bench.pool.delete(C1.at("s"))
        await bench.pool.trash.empty()

    await started(bench)
    await cycle()
    before = await asyncio.to_thread(held)
    await cycle()
    assert await asyncio.to_thread(held) == before


def held() -> tuple[int, int]:
    return len(list(Path("/proc/self/fd").iterdir())), len(mount.mounts())


async def test_destroying_a_pool_leaves_nothing(place: Path, bench: Bench) -> None:
    await started(bench)
    await bench.pool.snapshot(C1, "s")
    root = bench.pool.root
    await bench.pool.destroy()
    assert not bench.pool.path.exists()
    assert not root.exists() or not list(root.iterdir())
    assert not list(place.glob("disks/*"))
    await bench.pool.create()
    await bench.pool.activate()


async def test_an_overlay_volume_in_use_is_not_restored(place: Path) -> None:
    bench = await build("overlay", place)
    await started(bench)
    await bench.pool.snapshot(C1, "s")
    async with bench.guest(C1):
        with pytest.raises(Conflict, match="in use"):
            await bench.pool.restore(C1, "s")
    await bench.pool.restore(C1, "s")


async def test_work_on_many_volumes_at_once_shares_and_frees_layers_rightly(bench: Bench) -> None:
    await started(bench, *(f"v{number}" for number in range(6)))

    async def life(number: int) -> None:
        mine, other = Volume("container", "default", f"v{number}"), Volume("container", "default", f"w{number}")
        for turn in range(3):
            async with bench.guest(mine) as guest:
                guest.write("turn", str(turn))
                if turn % 2:
                    await bench.pool.snapshot(mine, f"s{turn}")
            await bench.pool.copy(mine, other)
            await bench.pool.snapshot(mine, f"t{turn}")
            await bench.pool.delete(mine)
            await bench.pool.copy(other, mine)
            await bench.pool.delete(other)
        async with bench.guest(mine) as guest:
            check_image(guest)
            assert guest.read("turn") == "2"

    await asyncio.gather(*(life(number) for number in range(6)))


async def test_a_volume_snapshotted_a_thousand_times_still_mounts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "DEEP", 8)
    bench = await build("overlay", place)
    await started(bench)
    for number in range(60):
        async with bench.guest(C1) as guest:
            guest.write(f"f{number}", "x")
            if number:
                guest.do(os.unlink, guest.path / f"f{number - 1}")
        await bench.pool.snapshot(C1, f"s{number}")
    stack = await asyncio.to_thread(layers.read, bench.pool.folder(C1))
    assert len(stack.lowers) <= 10
    async with bench.guest(C1) as guest, bench.guest(C1.at("s30")) as old:
        check_image(guest)
        assert [name for name in guest.names() if name[0] == "f"] == ["f59", "fifo"]
        assert [name for name in old.names() if name[0] == "f"] == ["f30", "fifo"]
    await bench.pool.destroy()


async def test_subvolumes_made_in_a_guest_are_part_of_its_volume(place: Path) -> None:
    bench = await build("btrfs", place)
    await started(bench)
    async with bench.guest(C1) as guest:
        for inner in ("var/inner", "var/inner/deep"):
            guest.do(btrfs.create, guest.path / inner)
            guest.write(f"{inner}/x", "1")
        await bench.pool.snapshot(C1, "s")
        guest.write("var/inner/deep/x", "2")
    await bench.pool.copy(C1.at("s"), C2)
    await bench.pool.copy(C1, Volume("container", "default", "c3"))
    for volume, text in ((C1, "2"), (C1.at("s"), "1"), (C2, "1"), (Volume("container", "default", "c3"), "2")):
        async with bench.guest(volume) as guest:
            assert guest.read("var/inner/deep/x") == text
            assert guest.read("var/inner/x") == "1"
    await bench.pool.restore(C1, "s")
    async with bench.guest(C1) as guest:
        assert guest.read("var/inner/deep/x") == "1"
    for volume in await bench.pool.volumes():
        await bench.pool.delete(volume)
    await bench.pool.trash.empty()
    assert leftovers(bench) == []
    await bench.pool.destroy()


async def test_a_privileged_guest_writes_as_the_hosts_root(bench: Bench) -> None:
    await started(bench)
    with mount.closing(await bench.pool.mount(C1, [])) as tree:
        root = Path(f"/proc/self/fd/{tree}")
        (root / "x").write_text("1")
        assert (root / "x").stat().st_uid == 0
        os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        assert (root / "null").read_bytes() == b""
