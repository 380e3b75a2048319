"""Who is trusted: client certificates by fingerprint, tokens and the trust password by which clients get in."""

import asyncio
import base64
import hmac
import ipaddress
import json
import logging
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from hutch.access import passwords
from hutch.access.callers import Caller
from hutch.errors import AlreadyExists, Forbidden, Invalid, NotFound
from hutch.schema.base import ZERO_TIME, now, timestamp
from hutch.schema.certificate import CertificatePost, CertificatePut, CertificateRecord, TokenRecord
from hutch.schema.status import Status
from hutch.service import server
from hutch.service.parts import Parts
from hutch.work.operations import Operation

log = logging.getLogger(__name__)

_PAUSE, _PAUSE_MOST = 0.5, 10.0
_REMEMBERED = 4096
"""Origins of wrong secrets that are remembered at the most: an attacker with many does not fill the memory."""


def document(record: CertificateRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "type": record.type,
        "restricted": record.restricted,
        "projects": record.projects,
        "certificate": record.certificate,
        "fingerprint": record.fingerprint,
    }


def editable(record: CertificateRecord) -> dict[str, Any]:
    return {"name": record.name, "type": record.type, "restricted": record.restricted, "projects": record.projects}


def known(parts: Parts, caller: Caller) -> list[CertificateRecord]:
    """The certificates that the caller may know of: all, or a restricted client's own."""
    found = parts.state.certificates.all()
    return [each for each in found if caller.is_admin or each.fingerprint == caller.requestor.username]


def find(parts: Parts, caller: Caller, fingerprint: str) -> CertificateRecord:
    """The certificate that the caller may know of and whose fingerprint begins so, if there is one only."""
    found = [record for record in known(parts, caller) if record.fingerprint.startswith(fingerprint.lower())]
    if len(found) > 1:
        raise Invalid(f"More than one certificate has a fingerprint that begins with {fingerprint}")
    if not found:
        raise NotFound("Certificate not found")
    return found[0]


async def add(parts: Parts, caller: Caller, wanted: CertificatePost) -> CertificateRecord:
    """Trust a certificate: any one when the caller may do everything, else the caller's own for a token, which says
    what it is good for, or for the password."""
    if caller.trusted and not caller.is_admin:
        raise Forbidden("Forbidden")
    token = None
    if not caller.trusted:
        token = await _admit(parts, caller, wanted.trust_token or wanted.password)
    terms = _terms(parts, token or wanted)
    fingerprint, pem = _certificate(caller, wanted)
    name = wanted.name or (token.name if token else "") or _common_name(pem) or fingerprint[:12]
    async with parts.locks.hold("certificates"):
        if parts.state.certificates.find(fingerprint) is not None:
            raise AlreadyExists("Certificate already in trust store")
        record = replace(terms, fingerprint=fingerprint, name=name, certificate=pem)
        async with parts.state.change() as transaction:
            transaction.put(record)
            if token is not None:
                transaction.delete(token)
    if token is not None:
        _end(parts, token)
    parts.events.lifecycle("certificate-created", f"/1.0/certificates/{fingerprint}", "")
    return record


def _terms(parts: Parts, wanted: CertificatePost | TokenRecord | CertificateRecord) -> CertificateRecord:
    """What a certificate is good for, as a record without the certificate itself."""
    kind = wanted.type or "client"
    if kind not in ("client", "metrics", "server"):
        raise Invalid(f"Unknown certificate type {kind!r}: client, metrics and server are known")
    if wanted.projects and not wanted.restricted:
        raise Invalid("Projects are given for a restricted certificate only: make it restricted")
    for project in wanted.projects:
        parts.state.projects.get(project)
    return CertificateRecord(
        fingerprint="", name="", certificate="", type=kind, restricted=wanted.restricted, projects=wanted.projects
    )


def _certificate(caller: Caller, wanted: CertificatePost) -> tuple[str, str]:
    from hutch.access import x509

    if wanted.certificate:
        return x509.parse(wanted.certificate)
    if caller.certificate is None:
        raise Invalid("No client certificate provided")
    return x509.parse(x509.pem_of(caller.certificate))


def _common_name(pem: str) -> str:
    from hutch.access import x509

    return x509.common_name(pem)


async def _admit(parts: Parts, caller: Caller, secret: str) -> TokenRecord | None:
    """The token that `secret` is, None for the trust password. Forbidden for anything else, slower with each try."""
    address = caller.requestor.address
    origin = _origin(address)
    async with parts.locks.hold(f"admit/{origin}"):
        token = _token(parts, secret)
        if token is not None or await _is_password(parts, secret):
            parts.failures.pop(origin, None)
            return token
        failures = parts.failures.pop(origin, 0) + 1
        parts.failures[origin] = failures
        if len(parts.failures) > _REMEMBERED:
            del parts.failures[next(iter(parts.failures))]
        log.warning("a wrong token or password from %s, %d in a row", address, failures)
        await asyncio.sleep(min(_PAUSE * 2 ** (failures - 1), _PAUSE_MOST))
    raise Forbidden("not authorized")


def _origin(address: str) -> str:
    """What one attacker has of addresses: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address) or found.ipv4_mapped:
        return str(getattr(found, "ipv4_mapped", None) or found)
    return str(ipaddress.ip_network((int(found), 64), strict=False))


def _token(parts: Parts, text: str) -> TokenRecord | None:
    try:
        secret = str(json.loads(base64.b64decode(text, validate=True))["secret"])
    except (ValueError, KeyError, TypeError):
        return None
    for token in parts.state.tokens.all():
        if hmac.compare_digest(token.secret.encode(), secret.encode()):
            return None if token.expires_at != ZERO_TIME and token.expires_at < now() else token
    return None


async def _is_password(parts: Parts, text: str) -> bool:
    stored = server.settings(parts).config.get("core.trust_password", "")
    if not stored or not text:
        return False
    return await asyncio.to_thread(passwords.matches, text, stored)


async def issue(parts: Parts, wanted: CertificatePost) -> Operation:
    """A token for a new client, as an operation that ends when the token is used."""
    if not wanted.name:
        raise Invalid("A token needs the name of the client that it is for")
    terms = _terms(parts, wanted)
    life = server.settings(parts).config.get("core.remote_token_expiry", "")
    expires = now() + _duration(life) if life else ZERO_TIME
    record = TokenRecord(
        id="",
        secret=secrets.token_hex(32),
        name=wanted.name,
        type=terms.type,
        restricted=terms.restricted,
        projects=terms.projects,
        created_at=now(),
        expires_at=expires,
    )
    operation = await announce(parts, record)
    await parts.state.put(replace(record, id=operation.id))
    parts.events.lifecycle("certificate-token-created", operation.url, "")
    return operation


def _duration(text: str) -> timedelta:
    units = {"S": "seconds", "M": "minutes", "H": "hours", "d": "days", "w": "weeks"}
    found = timedelta()
    for word in text.split():
        if word[-1] not in units or not word[:-1].isdigit():
            raise Invalid(f"invalid duration {text!r}: words such as 30M, 1d or 2w are expected")
        found += timedelta(**{units[word[-1]]: int(word[:-1])})
    return found


async def announce(parts: Parts, record: TokenRecord) -> Operation:
    """The operation that stands for a token; made again for each token that is unused when the daemon starts."""
    metadata: dict[str, Any] = {
        "addresses": await server.addresses(parts),
        "fingerprint": parts.fingerprint,
        "request": {
            "name": record.name,
            "type": record.type,
            "restricted": record.restricted,
            "projects": record.projects,
        },
        "secret": record.secret,
    }
    if record.expires_at != ZERO_TIME:
        metadata["expiresAt"] = timestamp(record.expires_at)

    async def revoke() -> None:
        await revoked(parts, operation.id)

    operation = parts.operations.start(
        "Executing operation",
        None,
        kind="token",
        project="",
        metadata=metadata,
        may_cancel=True,
        id=record.id or None,
        cancelled=revoke,
    )
    return operation


async def revoked(parts: Parts, id: str) -> None:
    """A token's operation was cancelled: nobody gets in by it any more."""
    if (record := parts.state.tokens.find(id)) is not None:
        await parts.state.delete(record)


def _end(parts: Parts, token: TokenRecord) -> None:
    for operation in parts.operations.all():
        if operation.id == token.id:
            operation.end(Status.SUCCESS)


async def put(
    parts: Parts,
    caller: Caller,
    fingerprint: str,
    wanted: CertificatePut,
    check: Callable[[CertificateRecord], None],
) -> None:
    async with parts.locks.hold("certificates"):
        record = find(parts, caller, fingerprint)
        check(record)
        changed = replace(
            record,
            name=wanted.name or record.name,
            type=wanted.type or record.type,
            restricted=record.restricted if wanted.restricted is None else wanted.restricted,
            projects=record.projects if wanted.projects is None else wanted.projects,
        )
        if not caller.is_admin and editable(changed) != editable(record):
            raise Forbidden("A restricted client may change nothing but the certificate itself")
        if not changed.restricted:
            changed = replace(changed, projects=[])
        _terms(parts, changed)
        if wanted.certificate:
            new, pem = _certificate(caller, CertificatePost(certificate=wanted.certificate))
            if new != record.fingerprint and parts.state.certificates.find(new) is not None:
                raise AlreadyExists("Certificate already in trust store")
            changed = replace(changed, fingerprint=new, certificate=pem)
        async with parts.state.change() as transaction:
            if changed.fingerprint != record.fingerprint:
                transaction.delete(record)
            transaction.put(changed)
    parts.events.lifecycle("certificate-updated", f"/1.0/certificates/{changed.fingerprint}", "")


async def delete(parts: Parts, caller: Caller, fingerprint: str) -> None:
    async with parts.locks.hold("certificates"):
        record = find(parts, caller, fingerprint)
        await parts.state.delete(record)
    parts.events.lifecycle("certificate-deleted", f"/1.0/certificates/{record.fingerprint}", "")
