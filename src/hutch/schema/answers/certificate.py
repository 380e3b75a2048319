"""Trusted certificates, as the API shows them."""

from hutch.schema.answers.base import Answer


class Certificate(Answer):
    """`certificate` is PEM, `fingerprint` the SHA-256 of its DER form in hexadecimal."""

    name: str
    type: str
    restricted: bool
    projects: list[str]
    certificate: str
    fingerprint: str
