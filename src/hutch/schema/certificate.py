"""Certificates of trusted clients, and the tokens by which they become that."""

from datetime import datetime

import msgspec

from hutch.schema.base import ZERO_TIME


class CertificateRecord(msgspec.Struct, kw_only=True, frozen=True):
    """`fingerprint` is the hex SHA-256 of the DER form, `certificate` PEM."""

    fingerprint: str
    name: str
    certificate: str
    type: str = "client"
    restricted: bool = False
    projects: list[str] = []


class TokenRecord(msgspec.Struct, kw_only=True, frozen=True):
    """A token that was handed out and not used yet. It is stored, so that it outlives the daemon; `id` is its operation's."""

    id: str
    secret: str
    name: str
    type: str = "client"
    restricted: bool = False
    projects: list[str] = []
    created_at: datetime = ZERO_TIME
    expires_at: datetime = ZERO_TIME


class CertificatePost(msgspec.Struct, kw_only=True):
    """`certificate` empty: the one of the TLS session. `password` holds a trust password or a token, `trust_token` a token."""

    name: str = ""
    type: str = ""
    certificate: str = ""
    password: str = ""
    trust_token: str = ""
    token: bool = False
    restricted: bool = False
    projects: list[str] = []


class CertificatePut(msgspec.Struct, kw_only=True):
    name: str | None = None
    type: str | None = None
    certificate: str | None = None
    restricted: bool | None = None
    projects: list[str] | None = None
