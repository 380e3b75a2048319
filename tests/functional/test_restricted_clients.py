"""Clients that are restricted to projects, over HTTPS: what they see, and every way by which they might see more."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hutch.client.identity import make
from tests.hosts import Host
from tests.hosts.api import ApiError
from tests.hosts.host import NETWORK, POOL

ADDRESS = "127.0.0.1:8443"
ROOT = {"root": {"type": "disk", "path": "/", "pool": POOL}}
Project = Callable[..., str]


class Remote:
    """A client over HTTPS with a certificate of its own."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.certificate, self.key = host, folder / "client.crt", folder / "client.key"
        make(self.certificate, self.key)
        self.identity = ("--cert", str(self.certificate), "--key", str(self.key))

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status, and the metadata or the error."""
        words = ["curl", "-sk", "-X", method, "-w", "\n%{http_code}", *self.identity, f"https://{ADDRESS}{path}"]
        if body is not None:
            words += ["--data", json.dumps(body)]
        text, _, code = self.host.run(*words).stdout.rpartition("\n")
        document = json.loads(text)
        return int(code), document["error"] or document["metadata"]

    def get(self, path: str) -> Any:
        code, metadata = self.ask("GET", path)
        assert code == 200, metadata
        return metadata

    def trust(self, **how: Any) -> None:
        pem = self.certificate.read_text()
        self.host.call("POST", "/1.0/certificates", {"name": "test", "certificate": pem, "type": "client", **how})

    @property
    def fingerprint(self) -> str:
        words = ("openssl", "x509", "-in", self.certificate, "-noout", "-fingerprint", "-sha256")
        text = self.host.run(*words).stdout
        return text.partition("=")[2].strip().replace(":", "").lower()


@pytest.fixture
def remote(host: Host, tmp_path: Path) -> Iterator[Callable[[str], Remote]]:
    """Makes clients, while the shared host serves HTTPS."""
    host.call("PATCH", "/1.0", {"config": {"core.https_address": ADDRESS}})

    def made(name: str) -> Remote:
        (tmp_path / name).mkdir()
        return Remote(host, tmp_path / name)

    yield made
    for url in host.get("/1.0/certificates"):
        host.call("DELETE", url)
    host.call("PUT", "/1.0", {"config": {}})


@pytest.fixture
def tenant(host: Host, project: Project, remote: Callable[[str], Remote]) -> Remote:
    """A client of the project `tenant`, which has one instance; the project `secret` has another."""
    for name in ("tenant", "secret"):
        project(name, features_images="false")
        wanted = {"name": f"of-{name}", "source": {"type": "none"}, "devices": ROOT}
        host.call("POST", f"/1.0/instances?project={name}", wanted)
    client = remote("tenant")
    client.trust(restricted=True, projects=["tenant"])
    return client


def test_a_restricted_client_sees_its_own_projects_in_every_listing(tenant: Remote) -> None:
    assert tenant.get("/1.0/projects") == ["/1.0/projects/tenant"]
    assert tenant.get("/1.0/instances?project=tenant") == ["/1.0/instances/of-tenant?project=tenant"]
    assert tenant.get("/1.0/instances?all-projects=true") == ["/1.0/instances/of-tenant?project=tenant"]
    assert tenant.get("/1.0/containers?all-projects=true&recursion=2")[0]["name"] == "of-tenant"
    assert tenant.get("/1.0/profiles?all-projects=true") == ["/1.0/profiles/default?project=tenant"]
    assert tenant.get("/1.0/certificates") == [f"/1.0/certificates/{tenant.fingerprint}"]
    for path in (f"networks/{NETWORK}?project=tenant", f"storage-pools/{POOL}"):
        found = tenant.get(f"/1.0/{path}")
        assert [url for url in found["used_by"] if "project=tenant" not in url] == []
    assert "source" not in tenant.get(f"/1.0/storage-pools/{POOL}")["config"]


def test_networks_that_a_project_may_not_use_are_not_there_for_it(host: Host, tenant: Remote) -> None:
    assert f"/1.0/networks/{NETWORK}" in tenant.get("/1.0/networks?project=tenant")
    host.call("PATCH", "/1.0/projects/tenant", {"config": {"restricted": "true"}})
    assert tenant.get("/1.0/networks?project=tenant") == [f"/1.0/networks/{NETWORK}"]

    host.call("PATCH", "/1.0/projects/tenant", {"config": {"restricted.networks.access": "other"}})

    assert tenant.get("/1.0/networks?project=tenant") == []
    for path in ("", "/state", "/leases"):
        assert tenant.ask("GET", f"/1.0/networks/{NETWORK}{path}?project=tenant")[0] == 404


def test_a_restricted_client_learns_nothing_of_the_settings(tenant: Remote) -> None:
    found = tenant.get("/1.0?project=tenant")

    assert (found["auth"], found["config"]) == ("trusted", {})
    assert found["auth_user_name"] == tenant.fingerprint
    assert found["environment"]["project"] == "tenant"


FORBIDDEN: list[tuple[str, str, Any]] = [
    ("GET", "/1.0/instances?project=secret", None),
    ("GET", "/1.0/instances/of-secret?project=secret", None),
    ("GET", "/1.0/instances/of-secret?project=secret&all-projects=true", None),
    ("GET", "/1.0/instances", None),
    ("DELETE", "/1.0/instances/of-secret?project=secret", None),
    ("GET", "/1.0/instances/of-secret/files?path=/etc/shadow&project=secret", None),
    ("GET", "/1.0/projects/secret", None),
    ("GET", "/1.0/projects/secret/state", None),
    ("GET", "/1.0/projects/default", None),
    ("POST", "/1.0/projects", {"name": "own"}),
    ("PATCH", "/1.0/projects/tenant", {"config": {"restricted": "false"}}),
    ("DELETE", "/1.0/projects/tenant", None),
    ("PATCH", "/1.0", {"config": {"core.trust_password": "x"}}),
    ("POST", "/1.0/storage-pools", {"name": "x", "driver": "dir"}),
    ("PATCH", f"/1.0/storage-pools/{POOL}", {"description": "x"}),
    ("POST", "/1.0/networks?project=tenant", {"name": "x0"}),
    ("PATCH", f"/1.0/networks/{NETWORK}?project=tenant", {"config": {"raw.dnsmasq": "x"}}),
    ("POST", "/1.0/images/aliases?project=tenant", {"name": "x", "target": "x"}),
    ("POST", "/1.0/images?project=tenant", {"source": {"type": "image", "alias": "busybox"}}),
    ("POST", "/1.0/certificates", {"type": "client", "name": "friend", "token": True}),
    ("POST", "/1.0/certificates", {"type": "client", "name": "friend"}),
    (
        "POST",
        "/1.0/instances?project=tenant",
        {"name": "stolen", "source": {"type": "copy", "source": "of-secret", "project": "secret"}},
    ),
    ("POST", "/1.0/instances/of-tenant?project=tenant", {"name": "x", "project": "secret", "migration": True}),
    (
        "POST",
        "/1.0/instances/of-tenant/rebuild?project=tenant",
        {"source": {"type": "image", "alias": "busybox", "project": "secret"}},
    ),
    (
        "POST",
        f"/1.0/storage-pools/{POOL}/volumes/custom?project=tenant",
        {"name": "stolen", "source": {"type": "copy", "name": "any", "project": "secret"}},
    ),
    ("GET", "/1.0/instances/of-secret/backups?project=secret", None),
    ("GET", "/1.0/operations?project=secret", None),
    ("GET", "/1.0/warnings", None),
    ("GET", "/internal/ready", None),
]


def test_a_restricted_client_gets_nowhere_else(tenant: Remote) -> None:
    answers = {f"{method} {path}": tenant.ask(method, path, body) for method, path, body in FORBIDDEN}

    assert {what: answer for what, answer in answers.items() if answer != (403, "Forbidden")} == {}


def test_a_restricted_client_works_in_its_project(host: Host, tenant: Remote) -> None:
    profile = {"name": "own", "config": {"user.a": "b"}}
    assert tenant.ask("POST", "/1.0/profiles?project=tenant", profile)[0] == 201
    wanted = {
        "name": "made",
        "source": {"type": "image", "alias": "busybox"},
        "devices": ROOT,
        "profiles": ["own"],
        "start": True,
    }
    code, operation = tenant.ask("POST", "/1.0/instances?project=tenant", wanted)
    assert code == 202
    done = tenant.get(f"/1.0/operations/{operation['id']}/wait?project=tenant")
    assert done["err"] == ""
    assert tenant.get("/1.0/instances/made/state?project=tenant")["status"] == "Running"
    assert host.get("/1.0/instances/made?project=tenant")["profiles"] == ["own"]


def test_a_restricted_client_hears_and_cancels_nothing_of_others(host: Host, tenant: Remote) -> None:
    snapshot = host.api.begin("POST", "/1.0/instances/of-secret/snapshots?project=secret", {"name": "one"})
    token = host.api.begin("POST", "/1.0/certificates", {"type": "client", "name": "later", "token": True})
    urls = [snapshot["operation"], token["operation"]]

    for url in urls:
        for method, path in (("GET", url), ("DELETE", url), ("GET", f"{url}/wait")):
            assert tenant.ask(method, path) == (403, "Forbidden")
    listed = tenant.get("/1.0/operations?all-projects=true&recursion=1")
    shown = {url for group in listed.values() for each in group for urls in each["resources"].values() for url in urls}
    assert [url for url in shown if not url.endswith("?project=tenant")] == []
    assert metadata_secret(token) not in json.dumps(listed)
    assert tenant.ask("GET", "/1.0/events?type=logging&project=tenant") == (403, "Forbidden")
    host.call("DELETE", token["operation"])


def metadata_secret(token: dict[str, Any]) -> str:
    secret: str = token["metadata"]["metadata"]["secret"]
    return secret


LISTEN = """
import asyncio, ssl, sys
import aiohttp

async def main(url, certificate, key):
    context = ssl._create_unverified_context()
    context.load_cert_chain(certificate, key)
    async with aiohttp.ClientSession() as session, session.ws_connect(url, ssl=context) as socket:
        print("listening", flush=True)
        async for message in socket:
            print(message.data, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""
"""A program that prints the events it hears until it is ended."""


def test_events_of_other_projects_do_not_reach_a_restricted_client(host: Host, tenant: Remote) -> None:
    url = f"https://{ADDRESS}/1.0/events?all-projects=true"
    words = host.namespace.command(sys.executable, "-c", LISTEN, url, tenant.certificate, tenant.key)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        try:
            assert listener.stdout.readline() == "listening\n"
            host.call("PATCH", "/1.0/instances/of-secret?project=secret", {"description": "new"})
            host.call("PATCH", "/1.0", {"config": {"user.x": "y"}})
            host.call("PATCH", "/1.0/instances/of-tenant?project=tenant", {"description": "new"})
            heard = json.loads(listener.stdout.readline())
        finally:
            listener.terminate()

    assert heard["metadata"]["source"] == "/1.0/instances/of-tenant?project=tenant"


def test_a_token_makes_a_client_that_is_no_less_restricted_than_the_token(
    host: Host, project: Project, remote: Callable[[str], Remote]
) -> None:
    project("tenant")
    wanted = {"type": "client", "name": "lodger", "token": True, "restricted": True, "projects": ["tenant"]}
    metadata = host.api.begin("POST", "/1.0/certificates", wanted)["metadata"]["metadata"]
    assert metadata["request"] == {"name": "lodger", "type": "client", "restricted": True, "projects": ["tenant"]}
    text = json.dumps({key: metadata[key] for key in ("addresses", "fingerprint", "secret")} | {"client_name": "x"})
    token = subprocess.run(["base64", "-w0"], input=text, text=True, stdout=subprocess.PIPE, check=True).stdout
    lodger = remote("lodger")

    asked = {"type": "client", "password": token, "restricted": False, "projects": ["default"]}
    assert lodger.ask("POST", "/1.0/certificates", asked)[0] == 201

    assert lodger.get("/1.0/projects") == ["/1.0/projects/tenant"]
    record = host.get("/1.0/certificates?recursion=1")[0]
    assert (record["restricted"], record["projects"]) == (True, ["tenant"])


def test_a_restricted_client_may_renew_its_certificate_and_change_nothing_else(
    host: Host, tenant: Remote, remote: Callable[[str], Remote]
) -> None:
    path = f"/1.0/certificates/{tenant.fingerprint}"
    for change in ({"restricted": False}, {"projects": ["secret"]}, {"type": "metrics"}, {"name": "boss"}):
        assert tenant.ask("PATCH", path, change)[0] == 403
    other = remote("other")
    other.trust()
    assert tenant.ask("GET", f"/1.0/certificates/{other.fingerprint}")[0] == 404
    assert tenant.ask("DELETE", f"/1.0/certificates/{other.fingerprint}")[0] == 404
    assert tenant.ask("PATCH", path, {"certificate": other.certificate.read_text()})[0] == 409

    renewed = remote("renewed")
    assert tenant.ask("PATCH", path, {"certificate": renewed.certificate.read_text()})[0] == 200

    assert renewed.get("/1.0/projects") == ["/1.0/projects/tenant"]
    assert tenant.get("/1.0")["auth"] == "untrusted"


def test_trust_is_decided_anew_with_every_request(host: Host, tenant: Remote) -> None:
    path = f"/1.0/certificates/{tenant.fingerprint}"
    host.call("PATCH", path, {"projects": ["secret"]})
    assert tenant.get("/1.0/projects") == ["/1.0/projects/secret"]
    host.call("PATCH", path, {"restricted": False})
    assert "/1.0/projects/default" in tenant.get("/1.0/projects")
    host.call("PATCH", path, {"type": "metrics"})
    assert tenant.ask("GET", "/1.0/projects")[0] == 403
    host.call("DELETE", path)
    assert tenant.get("/1.0")["auth"] == "untrusted"


def test_a_renamed_project_keeps_its_clients_and_a_deleted_one_leaves_them_nothing(
    host: Host, remote: Callable[[str], Remote]
) -> None:
    host.call("POST", "/1.0/projects", {"name": "early"})
    client = remote("client")
    client.trust(restricted=True, projects=["early"])

    host.call("POST", "/1.0/projects/early", {"name": "late"})
    assert client.get("/1.0/projects") == ["/1.0/projects/late"]
    host.call("DELETE", "/1.0/projects/late")
    assert client.get("/1.0/projects") == []


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"type": "admin"}, "Unknown certificate type"),
        ({"restricted": True, "projects": ["nowhere"]}, "Project not found"),
        ({"projects": ["default"]}, "restricted certificate only"),
    ],
)
def test_certificates_that_make_no_sense_are_refused(
    host: Host, remote: Callable[[str], Remote], document: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ApiError, match=sentence):
        remote("x").trust(**document)
