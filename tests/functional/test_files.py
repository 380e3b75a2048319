"""Files of instances by the API: both header dialects, running and stopped, streamed, and what must not happen."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.hosts import ApiError, Host

GIB = 1 << 30


class Files:
    """The files of one instance."""

    def __init__(self, host: Host, name: str, collection: str = "instances") -> None:
        self.host, self.base = host, f"/1.0/{collection}/{name}/files?path="

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        words = {f"X-LXD-{key.replace('_', '-')}": value for key, value in headers.items()}
        return self.host.api.raw(method, self.base + quote(path), body, words)

    def get(self, path: str) -> bytes:
        status, _, body = self.request("GET", path)
        assert status == 200, body
        return body

    def facts(self, path: str) -> tuple[str, ...]:
        status, headers, _ = self.request("HEAD", path)
        assert status == 200
        return tuple(headers[f"x-lxd-{name}"] for name in ("type", "mode", "uid", "gid"))

    def put(self, path: str, body: bytes = b"", **headers: str) -> None:
        status, _, answer = self.request("POST", path, body, **headers)
        assert status == 200, answer

    def refusal(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
        status, _, answer = self.request(method, path, body, **headers)
        document = json.loads(answer)
        assert document["type"] == "error", document
        assert status == document["error_code"]
        return status, document["error"]


@pytest.fixture(scope="module")
def box(host: Host) -> Iterator[str]:
    host.create("filebox", "busybox")
    Files(host, "filebox").put("/srv", type="directory")
    yield "filebox"
    host.delete("filebox")


@pytest.fixture(scope="module")
def still(host: Host) -> Iterator[str]:
    """An instance that was never started."""
    host.create("stillbox", "busybox", start=False)
    Files(host, "stillbox").put("/srv", type="directory")
    yield "stillbox"
    host.delete("stillbox")


@pytest.fixture(params=["running", "stopped"])
def files(request: pytest.FixtureRequest, host: Host, box: str, still: str) -> Files:
    return Files(host, box if request.param == "running" else still)


def test_a_new_file_has_what_was_asked_for(files: Files) -> None:
    files.put("/srv/file", b"content", type="file", mode="0640", uid="1000", gid="1001")
    status, headers, body = files.request("GET", "/srv/file")
    assert (status, body, headers["content-length"]) == (200, b"content", "7")
    assert headers["content-disposition"] == "inline;filename=file"
    for dialect in ("lxd", "incus"):
        found = {name: headers[f"x-{dialect}-{name}"] for name in ("type", "mode", "uid", "gid")}
        assert found == {"type": "file", "mode": "0640", "uid": "1000", "gid": "1001"}
        assert headers[f"x-{dialect}-modified"].endswith("+0000 UTC")


def test_a_new_file_without_wishes_is_roots(files: Files) -> None:
    files.put("/srv/plain", b"")
    assert files.facts("/srv/plain") == ("file", "0644", "0", "0")
    assert files.get("/srv/plain") == b""


def test_nobody_is_somebody(files: Files) -> None:
    files.put("/srv/nobodys", b"x", mode="0600", uid="65534", gid="65534")
    assert files.get("/srv/nobodys") == b"x"
    files.put("/srv/nobodys", b"y")
    assert files.facts("/srv/nobodys") == ("file", "0600", "65534", "65534")


def test_headers_of_the_other_dialect_count(files: Files) -> None:
    words = {"X-Incus-mode": "0600", "X-Incus-uid": "7", "X-Incus-gid": "8", "X-Incus-type": "file"}
    status, _, _ = files.host.api.raw("POST", files.base + "/srv/incus", b"x", words)
    assert status == 200
    assert files.facts("/srv/incus") == ("file", "0600", "7", "8")


def test_an_existing_file_keeps_owner_and_mode_unless_told(files: Files) -> None:
    files.put("/srv/keep", b"long content", mode="0600", uid="5", gid="6")
    files.put("/srv/keep", b"short", mode="0777", uid="0", gid="0")
    assert files.get("/srv/keep") == b"short"
    assert files.facts("/srv/keep") == ("file", "0600", "5", "6")
    files.put("/srv/keep", b"short", mode="0777", uid="0", gid="0", modify_perm="true")
    assert files.facts("/srv/keep") == ("file", "0777", "0", "0")


def test_content_is_appended(files: Files) -> None:
    files.put("/srv/log", b"one\n")
    files.put("/srv/log", b"two\n", write="append")
    assert files.get("/srv/log") == b"one\ntwo\n"
    assert files.refusal("POST", "/srv/nolog", b"x", write="append") == (404, "Not Found")
    assert files.refusal("POST", "/srv/log", b"x", write="sideways") == (400, "Bad file write mode: sideways")


def test_folders_are_made_listed_and_deleted_when_empty(files: Files) -> None:
    files.put("/srv/folder", type="directory", mode="0711", uid="3", gid="4")
    files.put("/srv/folder", type="directory")
    files.put("/srv/folder/ä file", b"x")
    files.put("/srv/folder/b", b"x")
    assert json.loads(files.get("/srv/folder"))["metadata"] == ["b", "ä file"]
    assert files.facts("/srv/folder") == ("directory", "0711", "3", "4")
    assert files.refusal("DELETE", "/srv/folder") == (409, "/srv/folder: Directory not empty")
    for path in ("/srv/folder/b", "/srv/folder/ä file", "/srv/folder"):
        assert files.request("DELETE", path)[0] == 200
    assert files.refusal("GET", "/srv/folder") == (404, "Not Found")
    assert files.refusal("DELETE", "/srv/folder") == (404, "Not Found")


def test_links_are_made_read_written_through_and_deleted_themselves(files: Files) -> None:
    files.put("/srv/target", b"before")
    files.put("/srv/link", b"/srv/target", type="symlink")
    files.put("/srv/link", b"/srv/target", type="symlink")
    status, headers, body = files.request("GET", "/srv/link")
    assert (status, headers["x-lxd-type"], body) == (200, "symlink", b"/srv/target")
    files.put("/srv/link", b"after")
    assert files.get("/srv/target") == b"after"
    assert files.refusal("POST", "/srv/link", b"elsewhere", type="symlink")[0] == 409
    files.request("DELETE", "/srv/link")
    assert files.get("/srv/target") == b"after"
    files.put("/srv/dangling", b"/srv/made", type="symlink")
    files.put("/srv/dangling", b"through")
    assert files.get("/srv/made") == b"through"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nowhere/file", {}, 404),
        ("POST", "/nowhere/file", {}, 404),
        ("POST", "/srv/x", {"type": "pipe"}, 400),
        ("POST", "/srv/x", {"uid": "five"}, 400),
        ("POST", "/srv/x", {"uid": "4294967295"}, 400),
        ("POST", "/etc", {}, 400),
        ("POST", "/", {}, 400),
        ("POST", "/srv/x", {"type": "symlink"}, 400),
        ("DELETE", "/", {}, 400),
        ("DELETE", "/srv/..", {}, 400),
        ("GET", "/etc/hostname/below", {}, 400),
    ],
)
def test_what_cannot_be_is_refused(files: Files, method: str, path: str, headers: dict[str, str], status: int) -> None:
    files.put("/etc/hostname", b"x\n")
    assert files.refusal(method, path, **headers)[0] == status


def test_a_path_is_needed(files: Files) -> None:
    status, _, body = files.host.api.raw("GET", files.base.partition("?")[0])
    assert (status, json.loads(body)["error"]) == (400, "Missing path argument")


def test_the_old_name_of_the_tree_works(host: Host, box: str) -> None:
    Files(host, box, "containers").put("/srv/old", b"x")
    assert Files(host, box).get("/srv/old") == b"x"
    with pytest.raises(ApiError, match="Instance not found"):
        host.call("GET", "/1.0/instances/nobody/files?path=/")


def test_mounts_of_a_running_guest_are_seen(host: Host, box: str) -> None:
    host.exec(box, "sh", "-c", "mkdir -p /mnt; mount -t tmpfs none /mnt")
    Files(host, box).put("/mnt/inside", b"x")
    assert host.exec(box, "cat", "/mnt/inside").stdout == "x"


def test_the_guest_sees_names_that_are_no_text(host: Host, box: str) -> None:
    host.exec(box, "sh", "-c", "mkdir -p /srv/odd; touch /srv/odd/$(printf 'a\\377b')")
    assert json.loads(Files(host, box).get("/srv/odd"))["metadata"] == ["a\ufffdb"]


def test_pipes_sockets_and_devices_are_never_opened(host: Host, box: str) -> None:
    host.exec(box, "sh", "-c", "rm -f /srv/pipe; mkfifo /srv/pipe")
    files = Files(host, box)
    for path in ("/srv/pipe", "/dev/zero", "/dev/console"):
        assert "device, pipe or socket" in files.refusal("GET", path)[1]
        assert "device, pipe or socket" in files.refusal("POST", path, b"x")[1]
    assert files.request("DELETE", "/srv/pipe")[0] == 200


def test_the_kernels_files_are_not_the_daemons_to_write(host: Host, box: str) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    files = Files(host, box)
    host.exec(box, "ln", "-sf", "/proc/sys/kernel/core_pattern", "/srv/innocent")
    for path in ("/srv/innocent", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"):
        assert files.refusal("POST", path, b"|/tmp/evil")[0] == 403
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before
    assert files.refusal("GET", "/proc/sys/vm/mmap_rnd_bits")[0] == 403
    assert files.request("GET", "/proc/1/environ")[0] == 200
    assert b"processor" in files.get("/proc/cpuinfo")


def test_a_shared_folder_of_the_host_is_as_open_as_to_the_guest(host: Host, guest: Callable[..., str]) -> None:
    name, share = guest(), host.folder / f"share-{id(host)}"
    share.mkdir(mode=0o755)
    for file, mode in (("public", 0o644), ("private", 0o600), ("open", 0o666)):
        (share / file).write_text(f"{file} before")
        (share / file).chmod(mode)
    device = {"share": {"type": "disk", "source": str(share), "path": "/share"}}
    host.call("PATCH", f"/1.0/instances/{name}", {"devices": device})
    host.power(name, "restart", force=True)
    files = Files(host, name)
    assert files.get("/share/public") == b"public before"
    assert files.refusal("GET", "/share/private")[0] == 403
    host.exec(name, "ln", "-s", "/share/public", "/innocent")
    for path in ("/share/public", "/share/private", "/innocent", "/share/new"):
        assert files.refusal("POST", path, b"evil")[0] == 403
        assert (share / "public").read_text() == "public before"
    assert files.refusal("DELETE", "/share/public")[0] == 403
    files.put("/share/open", b"after")
    assert (share / "open").read_text() == "after"
    assert sorted(path.name for path in share.iterdir()) == ["open", "private", "public"]


def test_a_broken_upload_leaves_nothing(host: Host, box: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(host.directory / "unix.socket"))
        head = f"POST /1.0/instances/{box}/files?path=/srv/partial/file HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
        Files(host, box).put("/srv/partial", type="directory")
        connection.sendall(head.encode() + bytes(5_000_000))
    for _ in range(100):
        if not host.exec(box, "ls", "-A", "/srv/partial").stdout:
            return
    pytest.fail("a part of the file is still there")


def test_what_was_pushed_while_stopped_is_there_after_the_start(host: Host, guest: Callable[..., str]) -> None:
    name = guest(start=False)
    Files(host, name).put("/etc/pushed", b"hello", mode="0600", uid="12", gid="13")
    host.power(name, "start")
    assert host.exec(name, "sh", "-c", "cat /etc/pushed; stat -c ' %u %g %a' /etc/pushed").stdout == "hello 12 13 600\n"
    host.power(name, "stop", force=True)
    assert Files(host, name).get("/etc/pushed") == b"hello"


def memory(host: Host) -> int:
    assert host.daemon is not None
    text = Path(f"/proc/{host.daemon.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("VmRSS"))


class _Zeros:
    """A body of a gibibyte, and the daemon's memory while it was sent."""

    def __init__(self, host: Host) -> None:
        self.host, self.left, self.most = host, GIB, 0

    def read(self, size: int) -> bytes:
        self.most = max(self.most, memory(self.host))
        block = bytes(min(1 << 20, self.left))
        self.left -= len(block)
        return block


@pytest.mark.slow
def test_a_gibibyte_goes_in_and_out_with_flat_memory(host: Host, box: str) -> None:
    files, body, before = Files(host, box), _Zeros(host), memory(host)
    assert files.request("POST", "/srv/large", body, type="file")[0] == 200
    assert body.most - before < 16 << 20
    connection = http.client.HTTPConnection("hutch")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(host.directory / "unix.socket"))
    connection.request("GET", files.base + "/srv/large")
    answer, total, most = connection.getresponse(), 0, 0
    while block := answer.read(1 << 20):
        total, most = total + len(block), max(most, memory(host))
    connection.close()
    assert total == GIB
    assert most - before < 16 << 20
    print(f"daemon {before >> 20} MiB before, at most {body.most >> 20} MiB in, {most >> 20} MiB out")
    files.request("DELETE", "/srv/large")
