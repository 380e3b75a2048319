"""Roots packed, read and unpacked again by the real programs, with all that belongs to a file."""

import asyncio
import hashlib
import os
import stat
from pathlib import Path

import pytest

from hutch.errors import HutchError, Invalid
from hutch.image import formats, metadata, templates
from hutch.image.files import Images
from hutch.image.pack import pack
from hutch.image.unpack import unpack
from tests import archives
from tests.hosts.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")

ALGORITHMS = ["none", "gzip", "bzip2 -1", "xz -0", "lzma -0", "zstd", "squashfs", "squashfs -comp zstd"]
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
ABOUT = metadata.parse(
    "architecture: aarch64\nproperties: {os: test}\ntemplates: {/etc/hosts: {when: [create], template: sub/hosts.tpl}}"
)
VARIABLES = {"instance": {"name": "c1", "privileged": False}, "config": {"user.x": "y"}, "devices": {}}


def make_root(root: Path) -> None:
    """A tree with what is hard to keep."""
    for folder in ("bin", "etc", "var/empty", "home/user"):
        (root / folder).mkdir(parents=True)
    (root / "etc/hostname").write_text("localhost\n")
    (root / "bin/su").write_bytes(os.urandom(5000))
    (root / "bin/su").chmod(0o4755)
    (root / "bin/ping").write_bytes(b"ping")
    os.setxattr(root / "bin/ping", "security.capability", CAPABILITY)
    os.setxattr(root / "etc/hostname", "user.note", b"a \0 value")
    os.setxattr(root / "etc", "trusted.overlay.opaque", b"y")
    os.link(root / "bin/ping", root / "bin/ping6")
    (root / "etc/absolute").symlink_to("/bin/su")
    (root / "etc/dotted").symlink_to("./../bin/su")
    os.mkfifo(root / "etc/pipe", 0o600)
    Path(os.fsdecode(os.fsencode(root) + b"/etc/odd \xff\n name")).write_text("odd")
    (root / "etc/-dash").write_text("dash")
    (root / "etc/rootfs").write_text("not the root")
    with (root / "var/sparse").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"middle")
    os.chown(root / "home/user", 1000, 1001)
    (root / "home/user").chmod(0o2750)
    os.utime(root / "etc/hostname", (1_600_000_000, 1_600_000_000))
    root.chmod(0o751)


def facts(root: Path) -> dict[str, object]:
    """All that must come back, by path."""
    return {str(path.relative_to(root)): _facts(path) for path in [root, *sorted(root.rglob("*"))]}


def _facts(path: Path) -> object:
    status = path.lstat()
    kept = {name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("trusted.")}
    xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(kept)}
    content: object = None
    if stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest() if status.st_size < 1 << 20 else status.st_size
    elif stat.S_ISLNK(status.st_mode):
        content = path.readlink()
    links = status.st_nlink if not stat.S_ISDIR(status.st_mode) else 0
    return status.st_mode, status.st_uid, status.st_gid, int(status.st_mtime), links, xattrs, content


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    make_root(path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "images")


async def packed(images: Images, root: Path, algorithm: str, template_files: Path | None = None) -> str:
    """The fingerprint of an image of the root, in its place."""
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        async with images.incoming() as arrived:
            digest = await pack(descriptor, arrived, ABOUT, template_files, formats.packer(algorithm))
            assert arrived.main.stat().st_size == digest.size
            contents = await images.inspect([arrived.main], 1 << 40)
            await images.place(arrived, digest.fingerprint, contents)
    finally:
        os.close(descriptor)
    return digest.fingerprint


async def room() -> int:
    return 1 << 40


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_root_comes_back_as_it_was(images: Images, root: Path, tmp_path: Path, algorithm: str) -> None:
    folder = tmp_path / "templates"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/hosts.tpl").write_text("{{ container.name }}")
    before = facts(root)
    fingerprint = await packed(images, root, algorithm, folder)
    assert fingerprint == hashlib.sha256(images.main(fingerprint).read_bytes()).hexdigest()
    contents = await images.contents(fingerprint, room)
    assert metadata.parse(contents.metadata) == ABOUT
    assert contents.templates == {"sub/hosts.tpl": b"{{ container.name }}"}

    target = tmp_path / "target"
    target.mkdir()
    heard: list[int] = []
    await unpack(images.main(fingerprint), contents, target, heard.append, unified=True)
    assert facts(target) == before
    assert (target / "var/sparse").stat().st_blocks < 1000
    assert "trusted.overlay.opaque" not in os.listxattr(target / "etc")
    assert heard[-1] == 100
    assert heard == sorted(heard)


@pytest.mark.parametrize("kind", ["tar", "squashfs"])
async def test_a_split_image_is_the_two_files_joined(images: Images, root: Path, tmp_path: Path, kind: str) -> None:
    async with images.incoming() as arrived:
        archives.tar(arrived.main, [archives.member("metadata.yaml", archives.METADATA.encode())], "xz")
        if kind == "squashfs":
            archives.squashfs(arrived.rootfs, root)
        else:
            archives.tar(
                arrived.rootfs, [archives.member("./"), archives.member("./etc/"), archives.member("./etc/a", b"b")]
            )
        joined = hashlib.sha256(arrived.main.read_bytes() + arrived.rootfs.read_bytes()).hexdigest()
        contents = await images.inspect([arrived.main, arrived.rootfs], 1 << 40)
        await images.place(arrived, joined, contents)
    files = await asyncio.to_thread(images.files, joined)
    assert [path.name for path in files] == [joined, f"{joined}.rootfs"]
    target = tmp_path / "target"
    target.mkdir()
    await unpack(images.rootfs(joined), contents, target, unified=False)
    if kind == "squashfs":
        assert facts(target) == facts(root)
    else:
        assert (target / "etc/a").read_bytes() == b"b"


async def test_what_is_lost_of_the_notes_is_read_again(images: Images, root: Path) -> None:
    fingerprint = await packed(images, root, "zstd")
    noted = await images.contents(fingerprint, room)
    images.contents_path(fingerprint).unlink()
    assert await images.contents(fingerprint, room) == noted


async def test_what_half_arrived_is_swept_away(images: Images, root: Path) -> None:
    fingerprint = await packed(images, root, "none")
    stray = images.directory / "incoming-dead"
    stray.mkdir()
    (stray / "image").write_text("half")
    (images.directory / ("0" * 64)).write_text("unrecorded")
    assert await images.sweep([fingerprint]) == ["0" * 64, "incoming-dead"]
    assert sorted(path.name for path in images.directory.iterdir()) == [fingerprint, f"{fingerprint}.contents"]


async def test_a_cancelled_unpacking_ends_its_programs(images: Images, root: Path, tmp_path: Path) -> None:
    (root / "big").write_bytes(os.urandom(8 << 20))
    fingerprint = await packed(images, root, "xz -0")
    contents = await images.contents(fingerprint, room)
    target = tmp_path / "target"
    target.mkdir()
    task = asyncio.ensure_future(unpack(images.main(fingerprint), contents, target, unified=True))
    await asyncio.to_thread(wait_until, lambda: any(target.iterdir()), what="the unpacking has begun")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    running = [Path("/proc", pid, "cmdline") for pid in os.listdir("/proc") if pid.isdigit()]  # noqa: PTH208
    assert not [path for path in running if path.exists() and os.fsencode(target) in path.read_bytes()]


async def test_a_file_damaged_after_its_check_is_told(images: Images, root: Path, tmp_path: Path) -> None:
    fingerprint = await packed(images, root, "gzip")
    contents = await images.contents(fingerprint, room)
    data = images.main(fingerprint).read_bytes()
    images.main(fingerprint).write_bytes(data[: len(data) // 2])
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(Invalid, match="cannot be unpacked"):
        await unpack(images.main(fingerprint), contents, target, unified=True)


class TestTemplates:
    """Files of the guest written from templates."""

    async def place(self, tmp_path: Path, document: str, **files: str) -> tuple[Path, Path, int]:
        directory, root = tmp_path / "instance", tmp_path / "root"
        for path in (directory, root / "etc"):
            path.mkdir(parents=True, exist_ok=True)
        data = {name: text.encode() for name, text in files.items()}
        contents = metadata.Contents(metadata=f"architecture: x86_64\ntemplates:\n{document}", templates=data)
        await asyncio.to_thread(templates.place, contents, directory)
        return directory, root, os.open(root, os.O_PATH | os.O_DIRECTORY)

    async def test_they_are_written_when_their_trigger_comes(self, tmp_path: Path) -> None:
        directory, root, descriptor = await self.place(
            tmp_path,
            "  /etc/hostname: {when: [create, copy], template: name}\n"
            "  /new/deep/file: {when: [start], template: start, properties: {p: q}}\n"
            "  /etc/once: {when: [start], template: name, create_only: true}\n",
            name="{{ container.name }}\n",
            start='{{ trigger }} {{ path }} {{ properties.p }} {{ config_get("user.x", "z") }} {{ instance.privileged }}',
        )
        (root / "etc/hostname").write_text("a much longer name than before\n")
        (root / "etc/hostname").chmod(0o600)
        (root / "etc/once").write_text("kept")
        await templates.apply(["create"], descriptor, directory, VARIABLES, [])
        assert (root / "etc/hostname").read_text() == "c1\n"
        assert (root / "etc/hostname").stat().st_mode & 0o777 == 0o600
        assert not (root / "new").exists()
        await templates.apply(["start"], descriptor, directory, VARIABLES, [])
        assert (root / "new/deep/file").read_text() == "start /new/deep/file q y false"
        assert (root / "etc/once").read_text() == "kept"
        os.close(descriptor)

    async def test_no_link_in_the_guest_leads_out(self, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "file").write_text("safe")
        directory, root, descriptor = await self.place(
            tmp_path,
            "  /etc/link: {when: [create], template: t}\n  /escape/file: {when: [create], template: t}\n"
            "  /up/file: {when: [create], template: t}\n",
            t="written",
        )
        (root / "etc/link").symlink_to(outside / "file")
        (root / "up").symlink_to("../../outside")
        (root / "escape").symlink_to("/inside")
        (root / "inside").mkdir()
        (root / "outside").mkdir()
        (root / str(outside).lstrip("/")).mkdir(parents=True)
        await templates.apply(["create"], descriptor, directory, VARIABLES, [])
        assert (outside / "file").read_text() == "safe"
        assert (root / "inside/file").read_text() == "written"
        assert (root / "outside/file").read_text() == "written"
        assert (root / str(outside).lstrip("/") / "file").read_text() == "written"
        os.close(descriptor)

    async def test_a_pipe_in_the_way_is_an_error_and_no_wait(self, tmp_path: Path) -> None:
        directory, root, descriptor = await self.place(tmp_path, "  /etc/p: {when: [create], template: t}\n", t="x")
        os.mkfifo(root / "etc/p")
        with pytest.raises(HutchError, match="/etc/p"):
            await asyncio.wait_for(templates.apply(["create"], descriptor, directory, VARIABLES, []), 5)
        os.close(descriptor)

    async def test_a_wrong_template_is_named(self, tmp_path: Path) -> None:
        directory, _, descriptor = await self.place(tmp_path, "  /etc/x: {when: [create], template: t}\n", t="{% if %}")
        with pytest.raises(Invalid, match="template t for /etc/x"):
            await templates.apply(["create"], descriptor, directory, VARIABLES, [])
        (directory / "templates" / "t").unlink()
        with pytest.raises(Invalid, match="does not exist"):
            await templates.apply(["create"], descriptor, directory, VARIABLES, [])
        os.close(descriptor)

    async def test_an_instance_without_metadata_has_no_templates(self, tmp_path: Path) -> None:
        descriptor = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
        await templates.apply(["create", "start"], descriptor, tmp_path, VARIABLES, [])
        os.close(descriptor)
