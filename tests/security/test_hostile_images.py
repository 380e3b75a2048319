"""Images that want out of their root, or too much of the host, are refused with the entry's name, and leave nothing."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from hutch.errors import HutchError, Invalid
from hutch.helper.confine import STAGE_SIZE
from hutch.image import contents
from hutch.image.confined import confined
from hutch.image.metadata import Contents
from hutch.image.unpack import unpack
from hutch.kernel.run import run
from tests import archives
from tests.archives import member

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="unpacking needs root")
LIMIT = 1 << 30
DAMAGED = r"truncated|corrupt"
SYM, LNK, CHR, BLK = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE

HOSTILE = {
    "a climbing name": ([member("rootfs/../../etc/evil", b"x")], "rootfs/../../etc/evil"),
    "an absolute name": ([member("/etc/evil", b"x")], "/etc/evil"),
    "a name that climbs at its end": ([member("rootfs/a/..", kind=SYM, linkname="/etc")], "climbs"),
    "a file below a symlink": (
        [member("rootfs/esc", kind=SYM, linkname="/"), member("rootfs/esc/evil", b"x")],
        "rootfs/esc/evil",
    ),
    "a file below a symlink that takes a folder's place": (
        [member("rootfs/d/"), member("rootfs/d", kind=SYM, linkname="../.."), member("rootfs/d/evil", b"x")],
        "rootfs/d/evil",
    ),
    "a file below a hard link to a symlink": (
        [
            member("rootfs/esc", kind=SYM, linkname="/"),
            member("rootfs/two", kind=LNK, linkname="rootfs/esc"),
            member("rootfs/two/evil", b"x"),
        ],
        "rootfs/two/evil",
    ),
    "a dotted way below a symlink": (
        [member("rootfs/esc", kind=SYM, linkname="/"), member("./rootfs/./esc//evil", b"x")],
        "esc//evil",
    ),
    "a hard link to the host": ([member("rootfs/shadow", kind=LNK, linkname="/etc/shadow")], "/etc/shadow"),
    "a climbing hard link": ([member("rootfs/s", kind=LNK, linkname="rootfs/../../etc/shadow")], "etc/shadow"),
    "a hard link to what is not there": ([member("rootfs/s", kind=LNK, linkname="rootfs/nothing")], "rootfs/nothing"),
    "a block device": ([member("rootfs/dev/sda", kind=BLK, devmajor=8, devminor=0)], "rootfs/dev/sda.*block 8:0"),
    "a character device": ([member("rootfs/dev/mem", kind=CHR, devmajor=1, devminor=1)], "rootfs/dev/mem"),
    "a disk under a harmless name": ([member("rootfs/dev/null", kind=CHR, devmajor=8, devminor=0)], "rootfs/dev/null"),
    "a null device in another place": ([member("rootfs/x", kind=CHR, devmajor=1, devminor=3)], "rootfs/x"),
    "an unknown kind of entry": ([member("rootfs/x", kind=b"V")], "unknown kind"),
    "a symlink as template": ([member("templates/t", kind=SYM, linkname="/etc/shadow")], "templates/t"),
}


async def read(path: Path, role: str = "unified", limit: int = LIMIT) -> Contents:
    return await contents.read(path, role, limit)


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_tar_is_refused_by_the_name_of_its_entry(tmp_path: Path, case: str) -> None:
    more, word = HOSTILE[case]
    with pytest.raises(Invalid, match=word):
        await read(archives.image(tmp_path / "image", *more, compression="gzip"))


async def test_the_root_must_be_a_folder(tmp_path: Path) -> None:
    path = archives.tar(
        tmp_path / "image",
        [member("metadata.yaml", archives.METADATA.encode()), member("rootfs", kind=SYM, linkname="/etc")],
    )
    with pytest.raises(Invalid, match="no directory"):
        await read(path)


async def test_a_split_root_is_checked_in_the_same_way(tmp_path: Path) -> None:
    for more, word in HOSTILE.values():
        if not more[0][0].name.startswith("templates"):
            with pytest.raises(Invalid, match=word):
                await read(archives.tar(tmp_path / "root", more), "rootfs")


async def test_an_archive_that_declares_too_much_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = archives.tar(tmp_path / "image", [member("metadata.yaml", b"x"), member("rootfs/")])
    info = tarfile.TarInfo("rootfs/bomb")
    info.size = 1 << 50
    path.write_bytes(path.read_bytes()[:1536] + info.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(Invalid, match="rootfs/bomb"):
        await read(path)


async def test_a_compressed_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("rootfs/zeros")
        info.size = 64 << 20
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(Invalid, match="more than"):
        await read(path, limit=32 << 20)


async def test_an_endless_tail_behind_the_archive_is_noticed(tmp_path: Path) -> None:
    plain = archives.image(tmp_path / "image")
    (tmp_path / "image.gz").write_bytes(gzip.compress(plain.read_bytes() + bytes(8 << 20), 1))
    with pytest.raises(Invalid, match="without end"):
        await read(tmp_path / "image.gz", limit=4 << 20)


async def test_what_it_needs_is_compared_with_the_room_there_is(tmp_path: Path) -> None:
    path = archives.image(tmp_path / "image")
    target = tmp_path / "tree"
    target.mkdir()
    with pytest.raises(HutchError, match="not enough space"):
        await unpack(path, Contents(size=1 << 60, entries=1), target, unified=True)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("compression", ["none", "gzip", "bzip2", "xz", "lzma", "zstd"])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
async def test_a_truncated_file_is_told_as_such(tmp_path: Path, compression: str, part: float) -> None:
    noise = [member(f"rootfs/{number}", os.urandom(30_000)) for number in range(10)]
    path = archives.image(tmp_path / "image", *noise, compression=compression)
    data = path.read_bytes()
    end = min(int(len(data) * part), len(data.rstrip(b"\0")) - 1)
    path.write_bytes(data[:end])
    with pytest.raises(Invalid, match=DAMAGED):
        await read(path)


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
async def test_a_flipped_bit_is_noticed(tmp_path: Path, compression: str) -> None:
    noise = [member(f"rootfs/{number}", os.urandom(30_000)) for number in range(10)]
    path = archives.image(tmp_path / "image", *noise, compression=compression)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(Invalid, match=DAMAGED):
        await read(path)


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ([member("rootfs/")], "metadata.yaml"),
        ([member("metadata.yaml", b"x")], "rootfs"),
        ([member("metadata.yaml/"), member("rootfs/")], "metadata.yaml"),
        ([member("metadata.yaml", bytes(2 << 20)), member("rootfs/")], "metadata.yaml"),
        ([member("metadata.yaml", b"x"), member("rootfs/"), member("./rootfs/x")], "both"),
    ],
)
async def test_an_archive_that_is_no_image_is_refused(tmp_path: Path, members: archives.Members, word: str) -> None:
    with pytest.raises(Invalid, match=word):
        await read(archives.tar(tmp_path / "image", members))


async def test_harmless_nodes_of_dev_are_left_out(tmp_path: Path) -> None:
    nodes = [member("rootfs/dev/"), member("rootfs/dev/null", kind=CHR, devmajor=1, devminor=3)]
    path = archives.image(tmp_path / "image", *nodes, member("rootfs/dev/note", b"kept"))
    target = tmp_path / "tree"
    target.mkdir()
    await unpack(path, await read(path), target, unified=True)
    assert [entry.name for entry in (target / "dev").iterdir()] == ["note"]


async def test_a_squashfs_with_a_device_node_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "rootfs" / "dev").mkdir(parents=True)
    (folder / "metadata.yaml").write_text(archives.METADATA)
    path = archives.squashfs(tmp_path / "image", folder, "-p", "rootfs/dev/sda b 660 0 0 8 0")
    with pytest.raises(Invalid, match=r"rootfs/dev/sda.*block 8:0"):
        await read(path)


async def test_a_squashfs_name_with_a_line_end_hides_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "rootfs").mkdir(parents=True)
    (folder / "metadata.yaml").write_text(archives.METADATA)
    (folder / "rootfs" / "a\nb").mkdir()
    (folder / "rootfs" / "odd \udcff name").write_text("x")
    path = archives.squashfs(tmp_path / "image", folder, "-p", "rootfs/mem c 600 0 0 1 1")
    with pytest.raises(Invalid, match="rootfs/mem"):
        await read(path)


async def test_a_truncated_or_damaged_squashfs_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "rootfs").mkdir(parents=True)
    (folder / "metadata.yaml").write_text(archives.METADATA)
    (folder / "rootfs" / "noise").write_bytes(os.urandom(300_000))
    data = archives.squashfs(tmp_path / "image", folder).read_bytes()
    for damaged in (data[: len(data) // 2], data[:200_000] + bytes(len(data) - 200_000)):
        (tmp_path / "image").write_bytes(damaged)
        with pytest.raises(Invalid, match=DAMAGED):
            await read(tmp_path / "image")


class TestConfinement:
    """What the unpacking programs could do if an image took them over."""

    async def shell(self, tmp_path: Path, script: str) -> str:
        archive, tree = tmp_path / "archive", tmp_path / "tree"
        archive.write_text("the archive")
        tree.mkdir()
        return await run(confined(archive, tree, "/usr/bin/sh", "-c", f"({script}) 2>&1 || true"))

    async def test_only_the_archive_the_programs_and_the_tree_are_in_sight(self, tmp_path: Path) -> None:
        out = await self.shell(tmp_path, "cat /archive; ls / /stage; cat /etc/shadow")
        assert out.startswith("the archive")
        assert set(out.removeprefix("the archive").split()) >= {"stage", "usr", "rootfs"}
        assert not {"root", "home", "proc", "var", "tmp", "etc", "dev"} & set(out.split())
        assert "No such file" in out

    async def test_only_the_tree_can_be_written(self, tmp_path: Path) -> None:
        out = await self.shell(tmp_path, "echo x > /stage/rootfs/ok; echo x > /usr/evil; echo x > /archive")
        assert out.count("Read-only file system") == 2
        assert (tmp_path / "tree" / "ok").read_text() == "x\n"
        assert (tmp_path / "archive").read_text() == "the archive"

    async def test_no_device_node_can_be_made(self, tmp_path: Path) -> None:
        assert "Operation not permitted" in await self.shell(tmp_path, "mknod /stage/rootfs/x c 1 3")

    async def test_no_mount_can_be_made_and_no_process_be_seen(self, tmp_path: Path) -> None:
        out = await self.shell(tmp_path, "mount -t proc proc /stage; kill -9 -1; kill -0 2; echo pid $$")
        assert "permission denied" in out.lower() or "not permitted" in out.lower()
        assert "pid 1" in out

    async def test_what_lies_beside_the_tree_is_bounded(self, tmp_path: Path) -> None:
        out = await self.shell(tmp_path, f"cat /usr/bin/* | head -c {STAGE_SIZE + (1 << 20)} > /stage/big")
        assert "No space left" in out

    async def test_owners_and_setuid_can_be_kept(self, tmp_path: Path) -> None:
        await self.shell(tmp_path, "touch /stage/rootfs/su; chown 7:8 /stage/rootfs/su; chmod 4755 /stage/rootfs/su")
        status = (tmp_path / "tree" / "su").stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (7, 8, 0o4755)
