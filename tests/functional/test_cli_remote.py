"""One command line for this host's daemon and for others: remotes, tokens, REMOTE:NAME."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts import Host, Segment

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def there(host: Host) -> Iterator[Host]:
    host.call("PATCH", "/1.0", {"config": {"core.https_address": "127.0.0.1:8443"}})
    yield host
    for url in host.get("/1.0/certificates"):
        host.call("DELETE", url)
    host.call("PUT", "/1.0", {"config": {}})


@pytest.fixture
def hutch(there: Host, tmp_path: Path) -> Run:
    """The client of a user who has no daemon of their own."""

    def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        env = {"HUTCH_CONF": str(tmp_path / "conf"), "HUTCH_DIR": str(tmp_path / "nowhere")}
        return there.hutch(*words, env=env, check=check)

    return run


def _token(host: Host, name: str) -> str:
    return host.hutch("config", "trust", "add", "--name", name).stdout.split()[-1]


def test_a_token_is_all_it_takes(there: Host, hutch: Run) -> None:
    hutch("remote", "add", "far", _token(there, "laptop"))
    assert "far" in hutch("remote", "list", "--format", "csv").stdout
    there.create("web1", "busybox")
    assert "web1" in hutch("list", "far:", "--format", "csv").stdout
    assert hutch("exec", "far:web1", "--", "sh", "-c", "echo $((6 * 7)); exit 3", check=False).returncode == 3
    hutch("remote", "switch", "far")
    assert hutch("exec", "web1", "hostname").stdout == "web1\n"
    hutch("stop", "web1", "--force")
    hutch("snapshot", "far:web1", "s1")
    assert "s1" in there.get("/1.0/instances/web1/snapshots")[0]
    hutch("delete", "web1")
    assert not there.api.exists("/1.0/instances/web1")
    assert "laptop" in there.hutch("config", "trust", "list", "--format", "csv").stdout
    there.hutch("config", "trust", "remove", there.get("/1.0/certificates")[0].rpartition("/")[2])
    assert "Forbidden" in hutch("list", check=False).stderr


def test_files_go_there_and_back(there: Host, hutch: Run, tmp_path: Path) -> None:
    hutch("remote", "add", "far", _token(there, "laptop"))
    there.create("store", "busybox")
    (tmp_path / "note").write_text("over the wire\n")
    hutch("file", "push", str(tmp_path / "note"), "far:store/root/note")
    hutch("file", "pull", "far:store/root/note", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "over the wire\n"
    there.delete("store")


def test_a_server_that_shows_another_certificate_is_refused(there: Host, hutch: Run, tmp_path: Path) -> None:
    hutch("remote", "add", "far", _token(there, "laptop"))
    for name in ("server.crt", "server.key"):
        (there.directory / name).rename(tmp_path / name)
    there.restart()
    assert "certificate" in hutch("list", "far:", check=False).stderr.lower()
    for name in ("server.crt", "server.key"):
        (tmp_path / name).rename(there.directory / name)
    there.restart()
    hutch("list", "far:")


def test_mistakes_are_told_in_a_sentence(there: Host, hutch: Run) -> None:
    assert (
        "no trust token" in hutch("remote", "add", "x", "https://127.0.0.1:8443", "--token", "junk", check=False).stderr
    )
    assert "no server answers" in hutch("remote", "add", "x", "127.0.0.1:1", "--accept-certificate", check=False).stderr
    assert "already" in hutch("remote", "add", "local", "127.0.0.1", check=False).stderr
    refused = hutch("remote", "add", "x", "127.0.0.1:8443", "--accept-certificate", "--password", "no", check=False)
    assert "not authorized" in refused.stderr
    hutch("remote", "add", "far", _token(there, "laptop"))
    assert "already" in hutch("remote", "add", "far", "127.0.0.1", check=False).stderr
    assert "one at a time" in hutch("delete", "far:a", "local:b", check=False).stderr
    assert "no remote 'gone'" in hutch("list", "--remote", "gone", check=False).stderr
    hutch("remote", "rename", "far", "near")
    hutch("remote", "remove", "near")
    assert hutch("remote", "list", "--format", "csv").stdout.count("\n") == 1


def test_two_hosts_on_one_segment(hosts: Callable[..., Host], segment: Segment) -> None:
    one, two = hosts(segment=segment), hosts(segment=segment)
    two.call("PATCH", "/1.0", {"config": {"core.https_address": "[::]:8443"}})
    token = _token(two, "one")
    conf = {"HUTCH_CONF": f"{one.folder}/conf"}
    one.hutch("remote", "add", "two", two.address.partition("/")[0], "--token", token, env=conf, input="yes\n")
    two.prepare()
    assert "hutchbr0" in one.hutch("network", "list", "--remote", "two", "--format", "csv", env=conf).stdout
    assert "hutchbr0" not in one.hutch("network", "list", "--format", "csv", env=conf).stdout
