"""Settings of the server."""

import re

from hutch.errors import Invalid
from hutch.schema.base import Config
from hutch.schema.keys.base import Key, as_bool, as_int, boolean, integer, text


def _expiry(value: str) -> object:
    if not re.fullmatch(r"\d+[SMHdw]( \d+[SMHdw])*", value):
        raise Invalid(f"invalid duration {value!r}: words such as 30M, 1d or 2w are expected")
    return value


KEYS: dict[str, Key] = {
    "backups.compression_algorithm": text("Compression of new backups", "zstd"),
    "core.https_address": text("Address and port to serve HTTPS on, [::]:8443 for all; empty: only the Unix socket"),
    "core.metrics_address": text(
        "Address and port to serve only metrics on by HTTPS, :8444 for example; empty: nowhere"
    ),
    "core.metrics_authentication": boolean("Whether metrics are given only to those who have a certificate", "true"),
    "core.remote_token_expiry": Key(
        "How long a new trust token is good: 30M, 1d, 2w; empty: until used", check=_expiry
    ),
    "core.trust_ca_certificates": boolean(
        "Whether clients whose certificate the authority of DIR/server.ca signed are trusted without more", "true"
    ),
    "core.trust_password": text("Password by which a client makes its certificate trusted; off when empty"),
    "images.auto_update_cached": boolean("Whether images that were fetched for instances are kept up to date", "true"),
    "images.auto_update_interval": integer("Hours between two looks for newer images; 0: never", "6"),
    "images.compression_algorithm": text("Compression of new images", "gzip"),
    "images.remote_cache_expiry": integer("Days after which a fetched image that nobody used goes; 0: never", "10"),
}


def flag(config: Config, key: str) -> bool:
    """The boolean value of a key, or its default."""
    return as_bool(config.get(key) or KEYS[key].default)


def number(config: Config, key: str) -> int:
    """The integer value of a key, or its default."""
    return as_int(config.get(key) or KEYS[key].default)
