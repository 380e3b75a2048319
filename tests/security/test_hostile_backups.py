"""Backups that want out of their tree, or too much of the host, are refused with the entry's name, and leave nothing."""

import os
import tarfile
from pathlib import Path

import pytest
import yaml

from hutch.errors import Invalid
from hutch.image import backup
from tests import archives
from tests.archives import member
from tests.hosts import ApiError, Host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="reading a backup needs root")
LIMIT = 1 << 30
SYM, LNK, CHR, BLK = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE
ROOT = "backup/container/rootfs"

HOSTILE = {
    "a climbing name": ([member(f"{ROOT}/../../../../etc/evil", b"x")], "etc/evil"),
    "an absolute name": ([member("/etc/evil", b"x")], "/etc/evil"),
    "a name beside the backup": ([member("etc/evil", b"x")], "etc/evil.*outside of backup/"),
    "a file below a symlink": (
        [member(f"{ROOT}/esc", kind=SYM, linkname="/"), member(f"{ROOT}/esc/evil", b"x")],
        f"{ROOT}/esc/evil",
    ),
    "a root that is a symlink": ([member("backup/snapshots/s/rootfs", kind=SYM, linkname="/")], "no directory"),
    "a volume that is a symlink": ([member("backup/volume", kind=SYM, linkname="/")], "no directory"),
    "a disk that is a symlink": ([member("backup/volume.img", kind=SYM, linkname="/etc/shadow")], "no file"),
    "a hard link to the host": ([member(f"{ROOT}/s", kind=LNK, linkname="/etc/shadow")], "/etc/shadow"),
    "a hard link into another tree": (
        [
            member("backup/snapshots/s/rootfs/"),
            member("backup/snapshots/s/rootfs/f", b"x"),
            member(f"{ROOT}/f", kind=LNK, linkname="backup/snapshots/s/rootfs/f"),
        ],
        "out of its tree",
    ),
    "a disk's device": ([member(f"{ROOT}/dev/sda", kind=BLK, devmajor=8, devminor=0)], "dev/sda.*block 8:0"),
    "a device of memory": ([member(f"{ROOT}/dev/mem", kind=CHR, devmajor=1, devminor=1)], "dev/mem"),
    "a device beside the trees": ([member("backup/x", kind=CHR, devmajor=0, devminor=0)], "backup/x"),
    "an index too large": ([member("backup/index.yaml", b"#" * (2 << 20))], "index.yaml"),
    "templates that are links": ([member("backup/container/templates/t", kind=SYM, linkname="/etc/shadow")], "t"),
}


def made(path: Path, *more: tuple[tarfile.TarInfo, bytes], index: object = None, **how: str) -> Path:
    """A backup of the instance `c1` without snapshots, and the members given."""
    config = {"container": {"name": "c1", "architecture": "x86_64", "profiles": ["default"]}}
    text = yaml.safe_dump({"name": "c1", "type": "container", "config": config} if index is None else index)
    start = [member("backup/index.yaml", text.encode()), member(f"{ROOT}/"), member(f"{ROOT}/etc/")]
    return archives.tar(path, [*start, *more], **how)


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_backup_is_refused_with_the_entrys_name(name: str, tmp_path: Path) -> None:
    members, says = HOSTILE[name]
    with pytest.raises(Invalid, match=says):
        await backup.read(made(tmp_path / "backup", *members), LIMIT)


async def test_a_backup_that_unpacks_to_more_than_the_disk_is_refused(tmp_path: Path) -> None:
    bomb = made(tmp_path / "backup", member(f"{ROOT}/zeros", bytes(4 << 20)), compression="gzip")
    with pytest.raises(Invalid, match="unpacks to more than"):
        await backup.read(bomb, 1 << 20)


@pytest.mark.parametrize("kept", [0, 700, 10_000])
async def test_a_truncated_backup_is_refused(kept: int, tmp_path: Path) -> None:
    path = made(tmp_path / "backup", member(f"{ROOT}/data", os.urandom(1 << 20)), compression="zstd")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Invalid, match=r"truncated|corrupt|empty"):
        await backup.read(path, LIMIT)


async def test_marks_of_deleted_files_and_odd_but_harmless_entries_are_taken(tmp_path: Path) -> None:
    path = made(
        tmp_path / "backup",
        member(f"{ROOT}/gone", kind=CHR, devmajor=0, devminor=0),
        member(f"{ROOT}/dev/null", kind=CHR, devmajor=1, devminor=3),
        member(f"{ROOT}/link", kind=SYM, linkname="../../../../etc/passwd"),
        member(f"{ROOT}/pipe", kind=tarfile.FIFOTYPE),
    )
    found = await backup.read(path, LIMIT)
    assert found.trees == [ROOT]
    (tmp_path / "out").mkdir()
    await backup.write(path, found, ROOT, tmp_path / "out")
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["etc", "gone", "link", "pipe"]


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ("just text", "wrong"),
        ({"type": "container"}, "backup.yaml is|does not say"),
        ({"type": "virtual-machine", "config": {"container": {"name": "v"}}}, "not of a container"),
        ({"type": "container", "optimized": True, "backend": "zfs"}, "optimised form of the zfs driver"),
        ({"type": "container", "config": {"container": {"name": "../x", "profiles": []}}}, "Invalid instance name"),
        ({"type": "container", "config": {"container": {"name": "c9"}}, "snapshots": ["../../x"]}, "Invalid snapshot"),
        ({"type": "container", "config": {"container": {"name": "c9"}}, "snapshots": ["s"]}, "it has no"),
        ({"type": "container", "config": {"container": {"name": "c9", "config": {"evil": "1"}}}}, "Unknown config"),
        ({"type": "container", "config": {"container": {"name": "c9", "profiles": ["none"]}}}, "profile 'none'"),
    ],
)
def test_an_index_that_makes_no_sense_is_refused_and_nothing_is_left(
    host: Host, tmp_path: Path, index: object, says: str
) -> None:
    path = made(tmp_path / "backup", index=index)
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
    with path.open("rb") as stream, pytest.raises(ApiError, match=says):
        host.call("POST", "/1.0/instances", stream, headers=headers)
    assert not list((host.directory / "backups").iterdir())
    assert not host.api.exists("/1.0/instances/c9")
