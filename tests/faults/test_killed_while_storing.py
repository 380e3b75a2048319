"""kill -9 of the daemon before every commit of a verb: afterwards each volume is whole or gone.

What a driver does between two commits is killed step by step in tests/contract/test_storage_killed.py.
"""

import contextlib
import http.client
import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import ApiError, Host, images

URL = "/1.0/storage-pools/default/volumes/custom"
STREAM = {"Accept": "application/octet-stream", "Content-Type": "application/json"}
V = {"v": "old", "v/s": "old"}
W = {"w": "old", "w/s": "old"}
INSTANCE, SECOND = {"i": ""}, {"j": ""}


@dataclass
class Dying:
    """A host, and the file that says at which commit its daemon dies."""

    host: Host
    order: Path


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dying]:
    order = tmp_path_factory.mktemp("order") / "order"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent / "dying"))
        patch.setenv("HUTCH_DIES", str(order))
        with Host(lxcfs=False) as host:
            host.call("POST", "/1.0/storage-pools", {"name": "default", "driver": "overlay"})
            host.call("POST", "/1.0/storage-pools", {"name": "other", "driver": "dir"})
            root = {"root": {"type": "disk", "path": "/", "pool": "default"}}
            host.call("PUT", "/1.0/profiles/default", {"config": {}, "devices": root})
            host.import_image(images.built("busybox"), "busybox")
            yield Dying(host, order)


def export(host: Host, path: str) -> bytes:
    status, _, body = host.api.raw("POST", f"{path}/backups", {"compression_algorithm": "none"}, STREAM)
    assert status == 200, body
    return body


def content(backup: bytes) -> dict[str, str]:
    """The mark in each tree of a volume's backup: by the size of the block volume's file."""
    with tarfile.open(fileobj=io.BytesIO(backup)) as tar:
        sizes = {each.name.removeprefix("backup/"): each.size for each in tar if each.name.endswith(".img")}
    marks = {1 << 20: "old", 2 << 20: "new"}
    return {name.removesuffix(".img"): marks[size] for name, size in sizes.items()}


def seen(host: Host) -> dict[str, str]:
    """Every volume, snapshot and instance with the mark of what it holds, once records and disks agree."""
    found: dict[str, str] = {}
    on_disk: set[str] = set()
    for pool in ("default", "other"):
        folder = host.directory / "storage-pools" / pool / "volumes"
        on_disk |= {
            path.name.removeprefix("default_") for kind in ("custom", "container") for path in (folder / kind).iterdir()
        }
        assert not list((folder.parent / "new").iterdir())
        url = f"/1.0/storage-pools/{pool}/volumes/custom"
        for path in host.get(url):
            name = path.rpartition("/")[2]
            if "/snapshots/" in path:
                continue
            for tree, mark in content(export(host, path)).items():
                found[name if tree == "volume" else f"{name}/{tree.rpartition('/')[2]}"] = mark
    found |= {path.rpartition("/")[2]: "" for path in host.get("/1.0/instances")}
    assert on_disk == {name.partition("/")[0] for name in found}, "records and disks do not agree"
    return found


def reset(host: Host) -> None:
    for pool in ("default", "other"):
        for path in host.get(f"/1.0/storage-pools/{pool}/volumes/custom"):
            if "/snapshots/" not in path:
                host.call("DELETE", path)
    for path in host.get("/1.0/instances"):
        host.call("DELETE", path)
    host.call("POST", URL, {"name": "v", "content_type": "block", "config": {"size": "1MiB"}})
    host.call("POST", f"{URL}/v/snapshots", {"name": "s"})
    source = {"type": "image", "alias": "busybox"}
    host.call("POST", "/1.0/instances", {"name": "i", "source": source})


Work = Callable[[Host, dict[str, bytes]], Any]
WORKS: dict[str, tuple[Work, list[dict[str, str]]]] = {
    "create": (
        lambda host, _: host.call("POST", URL, {"name": "x", "content_type": "block", "config": {"size": "1MiB"}}),
        [V | INSTANCE, V | INSTANCE | {"x": "old"}],
    ),
    "copy to another pool": (
        lambda host, _: host.call(
            "POST",
            URL.replace("default", "other"),
            {"name": "w", "source": {"type": "copy", "name": "v", "pool": "default"}},
        ),
        [V | INSTANCE, V | W | INSTANCE],
    ),
    "snapshot": (
        lambda host, _: host.call("POST", f"{URL}/v/snapshots", {"name": "t"}),
        [V | INSTANCE, V | INSTANCE | {"v/t": "old"}],
    ),
    "rename": (lambda host, _: host.call("POST", f"{URL}/v", {"name": "w"}), [V | INSTANCE, W | INSTANCE]),
    "delete": (lambda host, _: host.call("DELETE", f"{URL}/v"), [V | INSTANCE, INSTANCE]),
    "import": (lambda host, kept: take_in(host, URL, kept["volume"], "w"), [V | INSTANCE, V | W | INSTANCE]),
    "import an instance": (
        lambda host, kept: take_in(host, "/1.0/instances", kept["instance"], "j"),
        [V | INSTANCE, V | INSTANCE | SECOND],
    ),
    "back up": (lambda host, _: host.call("POST", "/1.0/instances/i/backups", {"name": "b"}), [V | INSTANCE]),
}


def take_in(host: Host, url: str, backup: bytes, name: str) -> None:
    headers = {"Content-Type": "application/octet-stream", "X-LXD-name": name, "Content-Length": str(len(backup))}
    host.call("POST", url, io.BytesIO(backup), headers=headers)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKS)
def test_what_was_begun_is_whole_or_gone(dying: Dying, name: str) -> None:
    host, order = dying.host, dying.order
    work, allowed = WORKS[name]
    reset(host)
    kept = {"volume": export(host, f"{URL}/v"), "instance": export(host, "/1.0/instances/i")}
    point, died, outcomes = 1, True, []
    while died:
        order.write_text(str(point))
        with contextlib.suppress(ConnectionError, http.client.HTTPException, ApiError, OSError):
            work(host, kept)
        died = not order.exists()
        order.unlink(missing_ok=True)
        if died:
            assert host.daemon is not None
            host.daemon.wait(30)
            host.daemon = None
            host.start()
        outcomes.append(seen(host))
        assert outcomes[-1] in allowed, f"killed at point {point}"
        records = host.get("/1.0/instances/i/backups")
        files = [path for path in (host.directory / "backups").iterdir() if path.is_file()]
        assert len(files) == len(records)
        for path in records:
            host.call("DELETE", path)
        if outcomes[-1] != allowed[0]:
            reset(host)
        point += 1
    assert point > 2
    assert outcomes[-1] == allowed[-1]
    assert outcomes[0] == allowed[0]
