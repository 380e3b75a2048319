"""Passwords as they are stored and compared."""

import hashlib
import hmac
import secrets


def hashed(password: str) -> str:
    """A password as it is stored: scrypt with a salt, in hex. Blocks for some 50 ms."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}:{hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1).hex()}"


def matches(password: str, stored: str) -> bool:
    salt, _, digest = stored.partition(":")
    wanted = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=1 << 14, r=8, p=1).hex()
    return hmac.compare_digest(wanted, digest)
