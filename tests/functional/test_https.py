"""HTTPS and trust, with Debian's `lxc` as the other side: tokens, the password, and what strangers see."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hutch.client.identity import make
from tests.hosts import Host
from tests.hosts.api import ApiError

ADDRESS = "127.0.0.1:8443"


@pytest.fixture
def https(host: Host) -> Iterator[Host]:
    """The shared host, serving HTTPS for the while of the test."""
    host.call("PATCH", "/1.0", {"config": {"core.https_address": ADDRESS}})
    yield host
    for url in host.get("/1.0/certificates"):
        host.call("DELETE", url)
    host.call("PUT", "/1.0", {"config": {}})


@pytest.fixture
def client(https: Host, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`lxc` with an identity of its own."""

    def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return https.run("lxc", *words, env={"LXD_CONF": str(tmp_path / "lxc")}, check=check)

    return run


def _curl(host: Host, path: str, *more: str) -> tuple[int, Any]:
    done = host.run(
        "curl", "--silent", "--insecure", "--write-out", "\n%{http_code}", *more, f"https://{ADDRESS}{path}"
    )
    body, _, code = done.stdout.rpartition("\n")
    return int(code), json.loads(body)


def _token(host: Host, name: str) -> str:
    return host.lxc("config", "trust", "add", "--name", name, "--quiet").stdout.split()[-1]


def test_a_token_lets_one_client_in_once(https: Host, client: Callable[..., Any]) -> None:
    token = _token(https, "laptop")
    client("remote", "add", "there", token)
    https.create("seen", "busybox")
    assert "seen" in client("list", "there:", "--format", "csv").stdout
    assert client("exec", "there:seen", "--", "hostname").stdout.strip() == "seen"
    https.delete("seen")
    certificates = https.get("/1.0/certificates?recursion=1")
    assert [each["name"] for each in certificates] == ["laptop"]
    again = https.run("lxc", "remote", "add", "x", token, env={"LXD_CONF": f"{https.folder}/other"}, check=False)
    assert again.returncode != 0
    assert len(https.get("/1.0/certificates")) == 1


def test_an_unused_token_outlives_the_daemon_and_can_be_revoked(https: Host, client: Callable[..., Any]) -> None:
    kept, revoked = _token(https, "kept"), _token(https, "revoked")
    https.restart()
    listed = https.lxc("config", "trust", "list-tokens", "--format", "csv").stdout
    assert "kept" in listed
    https.lxc("config", "trust", "revoke-token", "revoked")
    assert client("remote", "add", "no", revoked, check=False).returncode != 0
    client("remote", "add", "there", kept)


def test_the_password_is_off_until_it_is_set_and_never_shown(https: Host, client: Callable[..., Any]) -> None:
    add = ("remote", "add", "there", f"https://{ADDRESS}", "--accept-certificate")
    assert "not authorized" in client(*add, "--password=any", check=False).stderr
    https.call("PATCH", "/1.0", {"config": {"core.trust_password": "open sesame"}})
    assert https.get("/1.0")["config"]["core.trust_password"] == "true"
    assert b"open sesame" not in (https.directory / "database" / "hutch.db").read_bytes()
    assert "not authorized" in client(*add, "--password=wrong", check=False).stderr
    client(*add, "--password=open sesame")
    assert client("list", "there:").returncode == 0
    https.call("PUT", "/1.0", {"config": https.get("/1.0")["config"]})
    assert https.get("/1.0")["config"]["core.trust_password"] == "true"


def test_strangers_see_only_what_is_open(https: Host) -> None:
    code, body = _curl(https, "/1.0")
    assert code == 200
    assert body["metadata"]["auth"] == "untrusted"
    assert {"config", "environment"}.isdisjoint(body["metadata"])
    assert _curl(https, "/1.0/images") == (200, _curl(https, "/1.0/images")[1])
    assert _curl(https, "/1.0/images")[1]["metadata"] == []
    for path in ("/1.0/instances", "/1.0/profiles", "/1.0/certificates", "/1.0/operations", "/internal/ready"):
        code, body = _curl(https, path)
        assert (path, code, body["error"]) == (path, 403, "Forbidden")
    code, _ = _curl(https, "/1.0", "--header", "X-LXD-authenticated: true")
    assert code == 403


def test_a_certificate_without_its_key_is_worth_nothing(
    https: Host, client: Callable[..., Any], tmp_path: Path
) -> None:
    client("remote", "add", "there", _token(https, "owner"))
    stolen, key = tmp_path / "lxc" / "client.crt", tmp_path / "other.key"
    https.run("openssl", "ecparam", "-genkey", "-name", "secp384r1", "-noout", "-out", key)
    done = https.run(
        "curl",
        "--silent",
        "--insecure",
        "--cert",
        stolen,
        "--key",
        key,
        f"https://{ADDRESS}/1.0/instances",
        check=False,
    )
    assert done.returncode != 0
    owner = tmp_path / "lxc" / "client.key"
    assert _curl(https, "/1.0/instances", "--cert", str(stolen), "--key", str(owner))[0] == 200


def test_only_tls_1_3_is_spoken(https: Host) -> None:
    done = https.run("curl", "--silent", "--insecure", "--tls-max", "1.2", f"https://{ADDRESS}/1.0", check=False)
    assert done.returncode != 0


def test_tls_1_2_is_spoken_where_it_is_asked_for(hosts: Callable[..., Host], tmp_path: Path) -> None:
    host = hosts(lxcfs=False, arguments=("--tls-min", "1.2"))
    host.call("PATCH", "/1.0", {"config": {"core.https_address": ADDRESS}})
    make(tmp_path / "client.crt", tmp_path / "client.key")
    pem = (tmp_path / "client.crt").read_text()
    host.call("POST", "/1.0/certificates", {"type": "client", "name": "old", "certificate": pem})
    identity = ("--cert", str(tmp_path / "client.crt"), "--key", str(tmp_path / "client.key"))

    for version in ("1.2", "1.3"):
        code, answer = _curl(host, "/1.0", *identity, f"--tlsv{version}", "--tls-max", version)
        assert (code, answer["metadata"]["auth"]) == (200, "trusted")
    refused = host.run("curl", "-sk", "--tls-max", "1.1", f"https://{ADDRESS}/1.0", check=False)
    weak = host.run("curl", "-sk", "--tls-max", "1.2", "--ciphers", "AES256-SHA", f"https://{ADDRESS}/1.0", check=False)
    assert (refused.returncode != 0, weak.returncode != 0) == (True, True)


def test_guessing_secrets_gets_slower_is_logged_and_holds_up_nobody(https: Host) -> None:
    https.call("PATCH", "/1.0", {"config": {"core.trust_password": "open sesame"}})
    guess = ("-X", "POST", "--data", json.dumps({"type": "client", "password": "guess"}))
    words = https.namespace.command("curl", "-sk", *guess, f"https://{ADDRESS}/1.0/certificates")
    began = time.monotonic()
    guesses = [subprocess.Popen(words, stdout=subprocess.DEVNULL) for _ in range(3)]

    while any(each.poll() is None for each in guesses):
        asked = time.monotonic()
        assert _curl(https, "/1.0")[0] == 200
        assert https.get("/1.0")["auth"] == "trusted"
        assert time.monotonic() - asked < 2

    assert time.monotonic() - began > 0.5 + 1 + 2
    assert "a wrong token or password from 127.0.0.1, 3 in a row" in https.log.read_text()
    assert https.get("/1.0/certificates") == []


def test_a_token_is_good_no_longer_than_the_settings_say(https: Host, client: Callable[..., Any]) -> None:
    https.call("PATCH", "/1.0", {"config": {"core.remote_token_expiry": "1S"}})
    token = _token(https, "late")
    listed = https.lxc("config", "trust", "list-tokens", "--format", "csv").stdout
    assert "late" in listed
    time.sleep(1.1)

    assert "not authorized" in client("remote", "add", "there", token, check=False).stderr


def test_the_address_moves_at_run_time_and_a_bad_one_changes_nothing(https: Host) -> None:
    https.call("PATCH", "/1.0", {"config": {"core.https_address": "[::1]:9443"}})
    assert https.run("curl", "-ks", f"https://{ADDRESS}/1.0", check=False).returncode != 0
    assert https.run("curl", "-ks", "https://[::1]:9443/1.0").returncode == 0
    for bad, sentence in (("192.0.2.1:8443", "cannot listen on"), ("nonsense:port:x", "invalid address")):
        with pytest.raises(ApiError, match=sentence):
            https.call("PATCH", "/1.0", {"config": {"core.https_address": bad}})
    assert https.get("/1.0")["config"]["core.https_address"] == "[::1]:9443"
    https.restart()
    assert https.run("curl", "-ks", "https://[::1]:9443/1.0").returncode == 0


def test_an_upload_and_a_download_over_tls_are_whole(https: Host, client: Callable[..., Any], tmp_path: Path) -> None:
    client("remote", "add", "there", _token(https, "mover"))
    https.create("store", "busybox")
    sent, back = tmp_path / "sent", tmp_path / "back"
    https.run("dd", "if=/dev/urandom", f"of={sent}", "bs=1M", "count=64", "status=none")
    client("file", "push", str(sent), "there:store/root/file")
    client("file", "pull", "there:store/root/file", str(back))
    assert https.run("cmp", sent, back).returncode == 0
    https.delete("store")
