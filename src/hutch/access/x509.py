"""Certificates: the server's own, made once, and what is read from those of others.

Importing this loads `cryptography` (15 MiB): the daemon does it when it needs it, and has the server's certificate
made by a program: `python -m hutch.access.x509 DIR`.
"""

import datetime
import ipaddress
import os
import socket
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hutch.errors import Invalid

_YEARS = datetime.timedelta(days=3652)


def server(directory: Path) -> tuple[Path, Path]:
    """The files server.crt and server.key of `directory`: ECDSA P-384, self-signed, for ten years, made when missing.

    Clients verify against the first DNS name in it, so there always is one: the host's.
    """
    certificate, key = directory / "server.crt", directory / "server.key"
    if certificate.exists() and key.exists():
        return certificate, key
    private = ec.generate_private_key(ec.SECP384R1())
    made = _self_signed(private)
    _write(
        key,
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        ),
        0o600,
    )
    _write(certificate, made.public_bytes(serialization.Encoding.PEM), 0o644)
    return certificate, key


def _self_signed(private: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    host = socket.gethostname() or "localhost"
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "linuxcontainers.org"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"root@{host}"[:64]),
        ]
    )
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName(host)]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _YEARS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    return builder.sign(private, hashes.SHA384())


def _write(path: Path, data: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    draft.rename(path)


def parse(text: str) -> tuple[str, str]:
    """PEM, or base64 of DER as clients send it: the fingerprint and the PEM. Raises Invalid."""
    body = text.strip()
    if not body.startswith("-----BEGIN"):
        body = f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
    try:
        certificate = x509.load_pem_x509_certificate(body.encode())
    except ValueError as error:
        raise Invalid(f"the certificate cannot be read: {error}") from error
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return certificate.fingerprint(hashes.SHA256()).hex(), pem


def pem_of(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM).decode()


def common_name(pem: str) -> str:
    names = x509.load_pem_x509_certificate(pem.encode()).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


if __name__ == "__main__":
    server(Path(sys.argv[1]))
