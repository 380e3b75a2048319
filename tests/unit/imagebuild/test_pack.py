"""Images in LXD's form from a root filesystem's tar."""

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from hutch.errors import Invalid
from hutch.imagebuild import guest, pack, recipe

RECIPE = recipe.parse({"suite": "bookworm", "architecture": "x86_64"}, "plain")


def rootfs(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, **values: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in values.items():
        setattr(info, key, value)
    return info


def metadata() -> list[guest.Node]:
    return pack.metadata_nodes(RECIPE, pack.properties(RECIPE, "20260101_00:00"), 1_700_000_000)


def listed(path: Path, unpacker: str) -> dict[str, tarfile.TarInfo]:
    plain = subprocess.run([unpacker, "-dc", str(path)], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return {info.name: info for info in tar.getmembers()}


def test_a_unified_image_has_metadata_templates_and_the_root(tmp_path: Path) -> None:
    root = rootfs(
        tmp_path / "rootfs.tar",
        member("./", tarfile.DIRTYPE),
        member("./etc/hosts", size=3, mode=0o640, uid=7, gid=65535),
        member("./etc/hard", tarfile.LNKTYPE, linkname="./etc/hosts"),
        member("./etc/soft", tarfile.SYMTYPE, linkname="../hosts"),
        member("./" + "long/" * 40 + "name", size=1),
    )

    packed = pack.pack(metadata(), root, tmp_path / "image")

    found = listed(packed.path, "zstd")
    assert packed.path == tmp_path / "image.tar.zst"
    assert packed.rootfs is None
    assert list(found)[:4] == ["metadata.yaml", "templates", "templates/hostname.tpl", "templates/hosts.tpl"]
    hosts = found["rootfs/etc/hosts"]
    assert (hosts.mode, hosts.uid, hosts.gid, hosts.size) == (0o640, 7, 65535, 3)
    assert found["rootfs/etc/hard"].linkname == "rootfs/etc/hosts"
    assert found["rootfs/etc/soft"].linkname == "../hosts"
    assert "rootfs/" + "long/" * 40 + "name" in found
    assert packed.fingerprint == hashlib.sha256(packed.path.read_bytes()).hexdigest()


def test_a_split_image_has_the_fingerprint_of_both_halves(tmp_path: Path) -> None:
    root = rootfs(tmp_path / "rootfs.tar", member("./", tarfile.DIRTYPE), member("./etc/hosts", size=3))

    packed = pack.pack(metadata(), root, tmp_path / "image", form="tar.xz", split=True)

    assert packed.rootfs is not None
    assert set(listed(packed.rootfs, "xz")) == {".", "./etc/hosts"}
    both = packed.path.read_bytes() + packed.rootfs.read_bytes()
    assert packed.fingerprint == hashlib.sha256(both).hexdigest()


def test_a_squashfs_keeps_owners_and_modes(tmp_path: Path) -> None:
    root = rootfs(
        tmp_path / "rootfs.tar", member("./", tarfile.DIRTYPE, mode=0o755), member("./a", size=3, mode=0o4751, uid=33)
    )

    packed = pack.pack(metadata(), root, tmp_path / "image", form="squashfs", split=True)

    assert packed.rootfs is not None
    text = subprocess.run(["unsquashfs", "-lln", str(packed.rootfs)], capture_output=True, text=True, check=True).stdout
    line = next(line for line in text.splitlines() if line.endswith("squashfs-root/a"))
    assert line.startswith("-rwsr-x--x 33/0")


def test_device_nodes_are_left_out_and_dev_stays(tmp_path: Path) -> None:
    root = rootfs(
        tmp_path / "rootfs.tar",
        member("./dev", tarfile.DIRTYPE),
        member("./dev/fd", tarfile.SYMTYPE, linkname="/proc/self/fd"),
        member("./var/disk", tarfile.BLKTYPE, devmajor=8),
        member("./var/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("./var/pipe", tarfile.FIFOTYPE),
    )

    found = listed(pack.pack(metadata(), root, tmp_path / "image").path, "zstd")

    assert [name for name in found if name.startswith("rootfs")] == ["rootfs/dev", "rootfs/var/pipe"]


def test_binary_attributes_survive(tmp_path: Path) -> None:
    capability = b"\x01\x00\x00\x02\xc0\x20\x00\x00\x00\x00\x00\x00".decode("utf-8", "surrogateescape")
    headers = {"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.system.posix_acl_default": "x"}
    root = rootfs(tmp_path / "rootfs.tar", member("./ping", size=1, pax_headers=headers))

    found = listed(pack.pack(metadata(), root, tmp_path / "image").path, "zstd")

    assert found["rootfs/ping"].pax_headers["SCHILY.xattr.security.capability"] == capability
    assert "SCHILY.xattr.system.posix_acl_default" not in found["rootfs/ping"].pax_headers


@pytest.mark.parametrize("name", ["../out", "./a/../../out"])
def test_an_entry_that_leaves_the_root_is_refused(tmp_path: Path, name: str) -> None:
    root = rootfs(tmp_path / "rootfs.tar", member(name, size=1))

    with pytest.raises(Invalid, match="leaves it"):
        pack.pack(metadata(), root, tmp_path / "image")
    assert [path.name for path in tmp_path.iterdir()] == ["rootfs.tar"]


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"unknown image format 'rar'; known are tar.zst, tar.xz, squashfs"):
        pack.pack(metadata(), tmp_path / "none", tmp_path / "image", form="rar")


def test_the_metadata_is_what_lxd_reads() -> None:
    document = yaml.safe_load(metadata()[0].content or b"")

    assert document["architecture"] == "x86_64"
    assert document["creation_date"] == 1_700_000_000
    assert document["properties"]["os"] == "debian"
    assert document["properties"]["release"] == "bookworm"
    assert document["templates"]["/etc/hostname"] == {
        "when": ["create", "copy", "rename"],
        "template": "hostname.tpl",
    }
