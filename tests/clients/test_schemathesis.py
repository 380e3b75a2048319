"""schemathesis makes up requests from our OpenAPI document: nothing breaks, and answers are as described."""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts import ApiError, Host, images
from tests.hosts.host import BIN
from tests.hosts.relay import relay

HOOKS = "tests.clients.schemathesis_hooks"
CHECKS = (
    "nothing_broke",
    "tells_nothing_of_the_host",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
UPGRADES = "/1.0/events|/sftp$|/websocket$"
"""What is a stream once it is connected; schemathesis knows requests and answers."""


def _things(host: Host) -> dict[str, dict[str, str]]:
    """One of each, called `thing`, by the beginning of their paths."""
    host.prepare()
    fingerprint = host.import_image(images.built("busybox"), "thing")
    host.create("thing", "thing")
    host.call("POST", "/1.0/instances/thing/snapshots", {"name": "thing"})
    host.call("POST", "/1.0/profiles", {"name": "thing"})
    host.call("POST", "/1.0/projects", {"name": "thing"})
    host.call("POST", "/1.0/networks", {"name": "thing", "config": {"ipv4.address": "none", "ipv6.address": "none"}})
    host.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
             "/CN=thing", "-keyout", host.folder / "thing.key", "-out", host.folder / "thing.crt")  # fmt: skip
    pem = (host.folder / "thing.crt").read_text()
    body = "".join(line for line in pem.splitlines() if not line.startswith("-"))
    host.call("POST", "/1.0/certificates", {"type": "client", "name": "thing", "certificate": body})
    (certificate,) = host.get("/1.0/certificates?recursion=1")
    return {
        "/1.0/instances": {"name": "thing", "snapshot": "thing"},
        "/1.0/profiles": {"name": "thing"},
        "/1.0/projects": {"name": "thing"},
        "/1.0/networks": {"name": "thing"},
        "/1.0/images": {"fingerprint": fingerprint},
        "/1.0/images/aliases": {"name": "thing"},
        "/1.0/certificates": {"fingerprint": certificate["fingerprint"]},
        "/1.0/storage-pools": {"name": "default", "type": "container", "volume": "thing"},
    }


def _nothing_is_half_made(host: Host) -> None:
    """Whatever the requests made can be shown, and the instances be deleted."""
    for family in ("instances", "profiles", "networks", "projects", "storage-pools", "images", "images/aliases"):
        for where in host.get(f"/1.0/{family}"):
            assert host.api.exists(where), where
    for where in host.get("/1.0/instances"):
        with contextlib.suppress(ApiError):
            host.call("PUT", f"{where}/state", {"action": "stop", "force": True})
        if host.api.exists(where):  # one that is ephemeral has gone
            host.call("PATCH", where, {"config": {"security.protection.delete": ""}})
            host.call("DELETE", where)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_request_breaks_the_daemon_and_answers_are_as_described(hosts: Callable[..., Host], tmp_path: Path) -> None:
    host = hosts(lxcfs=False)
    real, seen = tmp_path / "real.json", tmp_path / "seen"
    things = _things(host)
    real.write_text(json.dumps(things))

    with relay(host.api.path) as port:
        words = [BIN / "st", "run", f"http://127.0.0.1:{port}/1.0/openapi.json", "--checks", ",".join(CHECKS)]
        words += [
            "--phases",
            "coverage,fuzzing",
            "--max-examples",
            "3",
            "--seed",
            "3",
            "--suppress-health-check",
            "all",
        ]
        words += ["--request-timeout", "60", "--generation-database", "none", "--mode", "all", "--warnings", "off"]
        words += ["--exclude-path-regex", UPGRADES]
        environment = os.environ | {
            "SCHEMATHESIS_HOOKS": HOOKS,
            "PYTHONPATH": str(Path.cwd()),
            "ST_REAL": str(real),
            "ST_SEEN": str(seen),
            "ST_HOST": str(host.folder),
        }
        done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2000:]
    answered = [line.split() for line in seen.read_text().splitlines()]
    reached = {path for status, method, path, _ in answered if status == "200" and method == "GET"}
    for prefix in things:
        assert any(path.startswith(prefix + "/{") for path in reached), f"nothing below {prefix} was found"
    assert host.get("/1.0")["auth"] == "trusted"
    _nothing_is_half_made(host)
