"""Mounts by descriptor, overlays on old and new kernels, shifted ids, work as a guest's root."""

import os
from pathlib import Path

import pytest

from hutch.errors import Invalid
from hutch.kernel import credentials, mount, namespaces, overlay
from hutch.kernel.idmap import IdMap
from tests.contract.pools import IDMAP

HOST = 1_000_000


@pytest.fixture
def layers(place: Path) -> Path:
    for name in ("low", "mid", "top/tree", "top/work"):
        (place / name).mkdir(parents=True)
    (place / "low/a").write_text("low")
    (place / "low/b").write_text("low")
    (place / "mid/a").write_text("mid")
    return place


@pytest.mark.parametrize("make", [overlay.overlay, overlay.by_path], ids=["by descriptor", "by path"])
async def test_an_overlay_of_shifted_layers_is_written_by_the_guests_root(make, layers: Path) -> None:  # type: ignore[no-untyped-def]
    userns = await namespaces.user(IDMAP)
    assert userns is not None
    lowers = [mount.idmapped(layers / name, userns) for name in ("low", "mid")]
    top = mount.idmapped(layers / "top", userns)
    before = set(Path("/tmp").iterdir())
    tree = await credentials.as_root_of(IDMAP, make, lowers, top)
    assert not {path for path in set(Path("/tmp").iterdir()) - before if path.name.startswith("hutch-overlay")}
    root = Path(f"/proc/self/fd/{tree}")
    assert [(root / name).read_text() for name in ("a", "b")] == ["mid", "low"]
    await credentials.as_root_of(IDMAP, (root / "new").write_text, "x")
    assert (root / "new").stat().st_uid == HOST
    assert (layers / "top/tree/new").stat().st_uid == 0
    with pytest.raises(OSError, match="Value too large"):
        (root / "by-host-root").write_text("x")
    assert overlay.in_use(layers / "top/tree", layers / "top/work")
    for descriptor in (*lowers, top, userns, tree):
        os.close(descriptor)
    assert not overlay.in_use(layers / "top/tree", layers / "top/work")


async def test_lowers_without_a_writable_layer_cannot_be_written(layers: Path) -> None:
    with mount.closing(mount.open_tree(layers / "low")) as low, mount.closing(mount.open_tree(layers / "mid")) as mid:
        tree = await credentials.as_root_of([], overlay.overlay, [low, mid], None)
    with mount.closing(tree):
        assert Path(f"/proc/self/fd/{tree}/a").read_text() == "mid"
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir("x", dir_fd=tree)


async def test_as_root_of_is_the_guests_root_with_a_umask_and_folder_of_its_own(place: Path) -> None:
    (place / "closed").mkdir(mode=0o700)

    def work() -> tuple[int, int]:
        os.chdir(place / "closed")
        Path("made").mkdir(mode=0o777)
        status = Path("made").stat()
        return status.st_uid, status.st_mode & 0o777

    here = Path.cwd()
    assert await credentials.as_root_of(IDMAP, work) == (HOST, 0o777)
    assert Path.cwd() == here
    assert await credentials.as_root_of([], Path(place / "mine").mkdir) is None
    assert (place / "mine").stat().st_uid == 0


async def test_a_map_without_root_or_that_the_kernel_refuses_is_invalid() -> None:
    with pytest.raises(Invalid, match="root"):
        await credentials.as_root_of([IdMap("u", 5, 5, 1), IdMap("g", 0, 0, 1)], os.getpid)
    overlapping = [IdMap(kind, inside, 1000, 10) for kind in "ug" for inside in (0, 5)]
    with pytest.raises(Invalid, match="refuses"):
        await namespaces.user(overlapping)


async def test_many_maps_keep_few_descriptors() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(70):
        namespace = await namespaces.user([IdMap(kind, 0, 5_000_000 + number * 65536, 65536) for kind in "ug"])
        assert namespace is not None
        os.close(namespace)
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 64


def test_detach_takes_every_mount_stacked_at_a_path(place: Path) -> None:
    (place / "at me").mkdir()
    for _ in range(2):
        with mount.closing(mount.new("tmpfs", options=[("size", "64k")])) as tree:
            mount.attach(tree, place / "at me")
    assert [entry.fstype for entry in mount.below(place)] == ["tmpfs", "tmpfs"]
    assert mount.is_mounted(place / "at me")
    assert mount.detach(place / "at me")
    assert not mount.is_mounted(place / "at me")
    assert not mount.detach(place / "at me")
    assert not mount.detach(place / "nowhere")


def test_a_detached_mount_goes_with_its_descriptor(place: Path) -> None:
    busy = mount.new("tmpfs")
    os.mkdir("x", dir_fd=busy)
    os.close(busy)
    mount.bind(place, place, attributes=mount.MOUNT_ATTR_RDONLY)
    with pytest.raises(OSError, match="Read-only"):
        (place / "x").mkdir()
    mount.detach(place)


def test_the_kernels_own_words_are_in_the_error() -> None:
    with pytest.raises(OSError, match="nonsense"):
        mount.new("tmpfs", options=[("nonsense", "1")])


def test_names_in_mountinfo_are_read_back() -> None:
    assert mount.unescape(r"/a\040b\011c\134d") == "/a b\tc\\d"
