"""A guest that wants the daemon to read, write or delete files of the host."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.hosts import Host

SECONDS = 4.0


@pytest.fixture(scope="module")
def box(host: Host) -> Iterator[str]:
    host.create("hostile", "busybox")
    host.exec("hostile", "mkdir", "-p", "/srv")
    yield "hostile"
    host.delete("hostile")


@pytest.fixture
def outside(host: Host) -> Iterator[Path]:
    """A folder of the host with one file, which must stay as it is."""
    folder = host.folder / "outside"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "marker").write_text("the host's")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["marker"]
    assert (folder / "marker").read_text() == "the host's"
    (folder / "marker").unlink()
    folder.rmdir()


def ask(host: Host, name: str, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    status, _, answer = host.api.raw(method, f"/1.0/instances/{name}/files?path={quote(path)}", body, timeout=10)
    return status, answer


@contextlib.contextmanager
def racing(host: Host, name: str, script: str) -> Iterator[None]:
    """The shell script over and over in the guest while the block runs."""
    host.exec(name, "rm", "-f", "/stop")
    loop = f"cd /srv; while [ ! -e /stop ]; do {script}; done"
    racer = threading.Thread(target=host.exec, args=(name, "sh", "-c", loop), kwargs={"check": False})
    racer.start()
    try:
        yield
    finally:
        host.exec(name, "touch", "/stop")
        racer.join()


@pytest.mark.parametrize("running", [True, False])
def test_links_out_of_the_root_end_inside_of_it(host: Host, outside: Path, running: bool) -> None:
    name = "linked" + str(running).lower()
    host.create(name, "busybox", start=running)
    try:
        folder = {"X-LXD-type": "directory"}
        host.api.raw("POST", f"/1.0/instances/{name}/files?path=/srv", b"", folder)
        climb = "../" * 40
        for link, target in (
            ("abs", str(outside)),
            ("up", climb + str(outside)[1:]),
            ("proc", f"/proc/1/root{outside}"),
        ):
            status, _, answer = host.api.raw(
                "POST",
                f"/1.0/instances/{name}/files?path=/srv/{link}",
                target.encode(),
                {"X-LXD-type": "symlink"},
            )
            assert status == 200, answer
            for path in (f"/srv/{link}/marker", f"/srv/{link}/new"):
                for method in ("GET", "POST", "DELETE"):
                    assert ask(host, name, method, path, b"evil")[0] >= 400
        for path in (climb + str(outside)[1:] + "/marker", f"{outside}/marker"):
            for method in ("GET", "POST", "DELETE"):
                assert ask(host, name, method, path, b"evil")[0] >= 400
    finally:
        host.delete(name)


@pytest.mark.slow
def test_a_folder_that_becomes_a_link_meanwhile(host: Host, box: str, outside: Path) -> None:
    host.exec(box, "sh", "-c", "mkdir -p /srv/dir; echo guest > /srv/dir/marker")
    swap = f"mv dir kept; ln -s {'../' * 30}{str(outside)[1:]} dir; rm dir; ln -s {outside} dir; rm dir; mv kept dir"
    wrote = refused = 0
    with racing(host, box, swap):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for method in ("POST", "GET", "DELETE", "POST"):
                status, answer = ask(host, box, method, "/srv/dir/marker", b"evil")
                assert status in (200, 404, 409), answer
                if method == "GET" and status == 200:
                    assert b"the host's" not in answer
                wrote, refused = wrote + (status == 200), refused + (status != 200)
            status, answer = ask(host, box, "GET", "/srv/dir")
            if status == 200 and answer.startswith(b"{"):
                assert set(json.loads(answer)["metadata"]) <= {"marker"} or b"marker" in answer
    assert wrote > 20
    assert refused > 5


@pytest.mark.slow
def test_a_folder_that_moves_while_a_path_climbs_out_of_it(host: Host, box: str, outside: Path) -> None:
    host.exec(box, "sh", "-c", "mkdir -p /srv/a/b/c/d")
    path = f"/srv/a/b/c/d/../../../../../..{outside}/marker"
    with racing(host, box, "mv a/b/c ../c; mv ../c a/b/c"):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for method in ("POST", "GET", "DELETE"):
                assert ask(host, box, method, path, b"evil")[0] >= 400


@pytest.mark.slow
def test_a_file_that_becomes_a_pipe_does_not_hold_the_daemon(host: Host, box: str) -> None:
    host.exec(box, "sh", "-c", "echo text > /srv/file")
    with racing(host, box, "rm -f file; mkfifo file; rm -f file; echo text > file; ln -sf /dev/zero file; rm -f file"):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for method in ("GET", "POST"):
                status, answer = ask(host, box, method, "/srv/file", b"text")
                assert status in (200, 400, 404, 409), answer


def test_a_file_belongs_to_the_guest_and_not_to_the_hosts_root(host: Host, box: str) -> None:
    assert ask(host, box, "POST", "/srv/owned", b"x")[0] == 200
    init = host.state(box)["pid"]
    found = host.run("stat", "-c", "%u %g", f"/proc/{init}/root/srv/owned").stdout
    assert found == "1000000 1000000\n"
