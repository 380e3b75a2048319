"""PKI mode: with DIR/server.ca only clients whose certificate that authority signed are let in, and DIR/ca.crl says which
of them not any more.

Importing this loads `cryptography`: only a daemon in PKI mode does.
"""

import logging
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from hutch.errors import HutchError

log = logging.getLogger(__name__)


class Authority:
    """The authority of clients' certificates. The list of revoked ones is read again when its file has changed."""

    def __init__(self, directory: Path) -> None:
        self._revocations = directory / "ca.crl"
        try:
            self._certificate = x509.load_pem_x509_certificate((directory / "server.ca").read_bytes())
        except ValueError as error:
            raise HutchError(f"{directory / 'server.ca'} is no certificate in PEM form: {error}") from error
        self._seen: tuple[int, int] | None = None
        self._list: x509.CertificateRevocationList | None = None
        self._is_sound = True
        self._signed: set[bytes] = set()

    def accepts(self, der: bytes) -> bool:
        """Whether the authority signed the certificate, its time has come and is not over, and it is not revoked. A list of
        revoked ones that the authority did not sign lets nobody in."""
        self._read_revocations()
        if not self._is_sound:
            return False
        certificate = x509.load_der_x509_certificate(der)
        if not certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc:
            return False
        if self._list is not None and self._list.get_revoked_certificate_by_serial_number(certificate.serial_number):
            return False
        return self._is_signed(der, certificate)

    def _is_signed(self, der: bytes, certificate: x509.Certificate) -> bool:
        """Remembered for those that are, which are few: their requests need no arithmetic."""
        if der not in self._signed:
            try:
                certificate.verify_directly_issued_by(self._certificate)
            except (ValueError, TypeError, InvalidSignature):
                return False
            self._signed.add(der)
        return True

    def _read_revocations(self) -> None:
        try:
            found = self._revocations.stat()
        except FileNotFoundError:
            self._seen, self._list, self._is_sound = None, None, True
            return
        if self._seen == (found.st_mtime_ns, found.st_size):
            return
        self._seen, self._list, self._is_sound = (found.st_mtime_ns, found.st_size), None, False
        try:
            listed = x509.load_pem_x509_crl(self._revocations.read_bytes())
            self._is_sound = listed.is_signature_valid(self._certificate.public_key())  # type: ignore[arg-type]
        except (ValueError, TypeError, InvalidSignature):
            self._is_sound = False
        if self._is_sound:
            self._list = listed
        else:
            log.error("%s is not signed by the authority of server.ca: nobody is let in by HTTPS", self._revocations)
