"""Waiting for operations: progress, cancelling, and what they fail with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web

from hutch import errors
from hutch.cli.progress import amount, binary_amount, follow
from hutch.cli.session import Session
from hutch.client.operations import ended, progress
from tests.unit.cli.conftest import Hutch
from tests.unit.cli.fake import OPERATION, Fake, Work


def test_progress_is_every_member_that_is_called_so() -> None:
    metadata = {"download_progress": "40% (3MB/s)", "fs_progress": "", "other": "x", "unpack_progress": "Unpack: 2%"}
    assert progress({"metadata": metadata}) == "40% (3MB/s), Unpack: 2%"
    assert progress({"metadata": None}) == ""


@pytest.mark.parametrize(
    ("document", "kind", "text"),
    [
        ({"status_code": 400, "err": "disk full"}, errors.HutchError, "disk full"),
        ({"status_code": 401, "err": "stopped"}, errors.Cancelled, "stopped"),
        ({"status_code": 401, "id": "7"}, errors.Cancelled, "the operation 7 was cancelled"),
    ],
)
def test_an_operation_that_did_not_succeed(document: dict[str, object], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        ended(document)


def test_progress_is_one_line_written_over_and_cleared(
    daemon: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [{"create_progress": f"{number}%"} for number in range(10, 100, 10)]
    daemon.work = Work(steps=steps, seconds=0.8)
    monkeypatch.setattr(Session, "shows_progress", True)
    follow(Session(os.environ["HUTCH_DIR"]), OPERATION, "Creating c1")
    shown = capsys.readouterr().err
    assert "\r\x1b[KCreating c1: 10% [##                      ]\r\x1b[KCreating c1: 20% [####" in shown
    assert shown.endswith("\r\x1b[K")


def test_nothing_is_shown_where_nobody_looks(daemon: Fake, hutch: Hutch) -> None:
    daemon.answers["DELETE", "/1.0/images/aa"] = Work(steps=[{"x_progress": "1%"}] * 9, seconds=0.5)
    assert hutch("query", "-X", "DELETE", "/1.0/images/aa", "--wait").err == ""
    assert [asked.path for asked in daemon.asked[1:]] == [f"{OPERATION}/wait"]


def test_ctrl_c_cancels_what_can_be_cancelled(daemon: Fake) -> None:
    daemon.answers["POST", "/1.0/images"] = Work(seconds=30)
    words = [sys.executable, "-m", "hutch.cli.main", "query", "-d", "{}", "--wait", "/1.0/images"]
    env = os.environ | {"HUTCH_DIR": str(daemon.socket.parent)}
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True) as process:
        while not any(asked.path.endswith("/wait") for asked in daemon.asked):
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert daemon.last("DELETE").path == OPERATION
    assert "Cancelling; press Ctrl-C again to leave it behind" in err
    assert err.endswith("Error: cancelled by the user\n")
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (999, "999B"), (1500, "1.50kB"), (2_500_000, "2.50MB"), (10**13, "10.00TB")]
)
def test_sizes_in_powers_of_a_thousand(size: int, text: str) -> None:
    assert amount(size) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0B"), (1536, "1.50KiB"), (5 << 30, "5.00GiB")])
def test_sizes_in_powers_of_1024(size: int, text: str) -> None:
    assert binary_amount(size) == text


def test_several_instances_are_stopped_side_by_side(daemon: Fake, hutch: Hutch) -> None:
    for name in ("a", "b"):
        daemon.answers["PUT", f"/1.0/instances/{name}/state"] = Work()
    assert hutch("stop", "a", "b", "--timeout", "5").code == 0
    order = [(asked.method, asked.path) for asked in daemon.asked]
    assert [method for method, _ in order[:2]] == ["PUT", "PUT"]
    assert daemon.asked[0].json == {"action": "stop", "timeout": 5, "force": False, "stateful": False}


def test_an_upload_tells_the_daemon_what_it_is(daemon: Fake, hutch: Hutch, tmp_path: Path) -> None:
    path = tmp_path / "image.tar.xz"
    with path.open("wb") as stream:
        stream.write(b"x" * 3_000_000)
    daemon.answers["POST", "/1.0/images"] = Work(metadata={"fingerprint": "f" * 64})
    daemon.answers["POST", "/1.0/images/aliases"] = None
    outcome = hutch("image", "import", str(path), "os=a b", "--alias", "new", "--public")
    assert outcome.out == f"Image imported with fingerprint: {'f' * 64}\n"
    asked = daemon.last("POST", "/1.0/images")
    assert len(asked.body) == 3_000_000
    headers = {name.lower(): value for name, value in asked.headers.items()}
    assert headers["x-lxd-filename"] == "image.tar.xz"
    assert headers["x-lxd-public"] == "1"
    assert headers["x-lxd-properties"] == "os=a+b"
    assert daemon.last("POST", "/1.0/images/aliases").json == {"name": "new", "target": "f" * 64}


def test_a_refused_upload_is_told_by_the_daemons_words(daemon: Fake, hutch: Hutch, tmp_path: Path) -> None:
    from tests.unit.cli.fake import Failure

    path = tmp_path / "image.tar"
    with path.open("wb") as stream:
        stream.truncate(8 << 20)
    daemon.answers["POST", "/1.0/images"] = Failure(409, "image exists already")
    assert hutch("image", "import", str(path)).err == "Error: image exists already\n"


def test_a_connection_that_idled_too_long_is_opened_again(daemon: Fake) -> None:
    daemon.answers["GET", "/1.0"] = {"a": 1}
    client = Session(os.environ["HUTCH_DIR"]).client
    for _ in range(2):
        assert client.get("/1.0") == {"a": 1}
        time.sleep(0.8)
    client.close()


def test_a_daemon_that_dies_while_we_wait_is_told(daemon: Fake, hutch: Hutch) -> None:
    async def die(http: web.Request) -> web.StreamResponse:
        assert http.transport is not None
        http.transport.abort()
        raise ConnectionResetError

    daemon.answers["PUT", "/1.0/instances/c1/state"] = Work()
    daemon.raw["GET", f"{OPERATION}/wait"] = die
    outcome = hutch("stop", "c1")
    assert outcome.code == 1
    assert outcome.err.startswith(f"Error: the daemon at {daemon.socket} went away")
    assert outcome.err.count("\n") == 1


def test_a_file_that_breaks_off_is_told(daemon: Fake, hutch: Hutch) -> None:
    async def half(http: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-LXD-type": "file", "Content-Length": "1000"})
        await response.prepare(http)
        await response.write(b"half")
        assert http.transport is not None
        http.transport.close()
        return response

    daemon.raw["GET", "/1.0/instances/c1/files"] = half
    outcome = hutch("file", "pull", "c1/etc/passwd", "-")
    assert (outcome.code, outcome.err) == (1, "Error: the daemon broke off in the middle of its answer\n")


def test_a_disk_that_is_full_is_told(daemon: Fake, hutch: Hutch) -> None:
    body = web.Response(body=b"x" * 100, headers={"X-LXD-type": "file"})
    daemon.answers["GET", "/1.0/instances/c1/files"] = lambda _: body
    outcome = hutch("file", "pull", "c1/x", "/dev/full")
    assert outcome.code == 1
    assert "No space left on device" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_start_that_fails_says_where_to_look(daemon: Fake, hutch: Hutch) -> None:
    daemon.answers["GET", "/1.0/instances/c1"] = {"status": "Stopped"}
    daemon.answers["PUT", "/1.0/instances/c1/state"] = Work(status_code=400, err="lxc-start failed")
    assert hutch("start", "c1").err == "Error: lxc-start failed; `hutch info c1 --show-log` may tell more\n"
    daemon.answers["PUT", "/1.0/instances/c1/state"] = Work(status_code=400, err="The instance is already running")
    assert hutch("start", "c1").err == "Error: The instance is already running\n"
