"""PKI mode: a certificate authority says which clients are let in by HTTPS, and which not any more."""

import datetime
import json
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.hosts import Host

ADDRESS = "127.0.0.1:8443"
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
PEM = serialization.Encoding.PEM


class Authority:
    """Signs certificates, and lists of those that are good no more."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._signed(self.name, self.key, NOW - DAY, NOW + 30 * DAY)

    def _signed(self, name: x509.Name, key: Any, begin: datetime.datetime, end: datetime.datetime) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)
        names = x509.SubjectAlternativeName([x509.DNSName("pki.test"), x509.IPAddress(IPv4Address("127.0.0.1"))])
        is_authority = x509.BasicConstraints(ca=key is self.key, path_length=None)
        builder = builder.add_extension(names, critical=False).add_extension(is_authority, critical=True)
        return builder.sign(self.key, hashes.SHA384())

    def issue(
        self,
        folder: Path,
        *,
        begin: datetime.datetime = NOW - DAY,
        end: datetime.datetime = NOW + DAY,
        name: str = "client",
    ) -> int:
        """Write client.crt and client.key (or those of another name); the serial number."""
        folder.mkdir(exist_ok=True)
        key = ec.generate_private_key(ec.SECP384R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
        made = self._signed(subject, key, begin, end)
        (folder / f"{name}.crt").write_bytes(made.public_bytes(PEM))
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / f"{name}.key").write_bytes(private)
        return made.serial_number

    def revoke(self, path: Path, *serials: int) -> None:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(NOW).next_update(NOW + DAY)
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW).build()
            builder = builder.add_revoked_certificate(entry)
        path.write_bytes(builder.sign(self.key, hashes.SHA384()).public_bytes(PEM))


@pytest.fixture
def authority() -> Authority:
    return Authority("ours")


@pytest.fixture
def host(hosts: Callable[..., Host], authority: Authority) -> Host:
    made = hosts(start=False, lxcfs=False)
    made.directory.mkdir()
    (made.directory / "server.ca").write_bytes(authority.certificate.public_bytes(PEM))
    authority.issue(made.directory, name="server")
    made.start()
    made.call("PATCH", "/1.0", {"config": {"core.https_address": ADDRESS}})
    return made


def ask(host: Host, client: Path, path: str, *more: str) -> tuple[int, Any]:
    identity = ("--cert", client / "client.crt", "--key", client / "client.key")
    done = host.run("curl", "-sk", *identity, "-w", "\n%{http_code}", *more, f"https://{ADDRESS}{path}")
    text, _, code = done.stdout.rpartition("\n")
    return int(code), json.loads(text)["metadata"]


def test_the_authority_says_who_is_let_in(host: Host, authority: Authority, tmp_path: Path) -> None:
    authority.issue(tmp_path / "member")
    authority.issue(tmp_path / "late", begin=NOW - 2 * DAY, end=NOW - DAY)
    authority.issue(tmp_path / "early", begin=NOW + DAY, end=NOW + 2 * DAY)
    Authority("ours").issue(tmp_path / "forged")

    assert ask(host, tmp_path / "member", "/1.0/instances") == (200, [])
    for stranger in ("late", "early", "forged"):
        assert ask(host, tmp_path / stranger, "/1.0/instances") == (403, None)


def test_what_the_trust_store_says_of_a_member_holds(host: Host, authority: Authority, tmp_path: Path) -> None:
    authority.issue(tmp_path / "member")
    Authority("theirs").issue(tmp_path / "stranger")
    for name in ("member", "stranger"):
        wanted = {"type": "client", "name": name, "certificate": (tmp_path / name / "client.crt").read_text()}
        host.call("POST", "/1.0/certificates", wanted | {"restricted": True, "projects": ["default"]})

    assert ask(host, tmp_path / "member", "/1.0/projects") == (200, ["/1.0/projects/default"])
    assert ask(host, tmp_path / "member", "/1.0/storage-pools", "-X", "POST", "--data", "{}")[0] == 403
    assert ask(host, tmp_path / "stranger", "/1.0/projects")[0] == 403


def test_members_need_a_token_when_being_one_is_not_enough(host: Host, authority: Authority, tmp_path: Path) -> None:
    authority.issue(tmp_path / "member")
    host.call("PATCH", "/1.0", {"config": {"core.trust_ca_certificates": "false"}})
    assert ask(host, tmp_path / "member", "/1.0")[1]["auth"] == "untrusted"

    host.call("PATCH", "/1.0", {"config": {"core.trust_password": "sesame"}})
    document = json.dumps({"type": "client", "password": "sesame"})
    assert ask(host, tmp_path / "member", "/1.0/certificates", "-X", "POST", "--data", document)[0] == 201

    assert ask(host, tmp_path / "member", "/1.0")[1]["auth"] == "trusted"


def test_a_revoked_certificate_is_refused_at_once(host: Host, authority: Authority, tmp_path: Path) -> None:
    revocations = host.directory / "ca.crl"
    serial = authority.issue(tmp_path / "lost")
    authority.issue(tmp_path / "kept")
    assert ask(host, tmp_path / "lost", "/1.0/instances")[0] == 200

    authority.revoke(revocations, serial)
    assert ask(host, tmp_path / "lost", "/1.0/instances")[0] == 403
    assert ask(host, tmp_path / "kept", "/1.0/instances")[0] == 200

    Authority("ours").revoke(revocations)
    assert ask(host, tmp_path / "kept", "/1.0/instances")[0] == 403
    assert "not signed by the authority" in host.log_tail()
    revocations.unlink()
    assert ask(host, tmp_path / "lost", "/1.0/instances")[0] == 200


def test_lxc_adds_a_server_of_its_authority_without_a_token(host: Host, authority: Authority, tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    authority.issue(conf)
    (conf / "client.ca").write_bytes(authority.certificate.public_bytes(PEM))

    host.run("lxc", "remote", "add", "there", f"https://{ADDRESS}", env={"LXD_CONF": str(conf)})

    assert host.run("lxc", "list", "there:", env={"LXD_CONF": str(conf)}).returncode == 0
    assert host.get("/1.0/certificates") == []
