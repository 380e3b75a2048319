"""Settings of the server."""

import re
import ssl

from hutch.errors import Invalid
from hutch.schema.base import Config
from hutch.schema.keys.base import Key, as_bool, as_int, boolean, choice, integer, text


def _expiry(value: str) -> object:
    if not re.fullmatch(r"\d+[SMHdw]( \d+[SMHdw])*", value):
        raise Invalid(f"invalid duration {value!r}: words such as 30M, 1d or 2w are expected")
    return value


def words(value: str) -> list[str]:
    """A comma separated list."""
    return [word.strip() for word in value.split(",") if word.strip()]


def _url(value: str) -> object:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise Invalid(f"invalid URL {value!r}: http:// or https:// and a host are expected")
    return value


def _authority(value: str) -> object:
    try:
        return ssl.create_default_context(cadata=value)
    except (ssl.SSLError, ValueError) as error:
        raise Invalid(f"no certificate in PEM form: {error}") from error


def _types(value: str) -> object:
    if wrong := set(words(value)) - {"lifecycle", "logging", "operation"}:
        raise Invalid(f"unknown type of events {min(wrong)!r}: lifecycle, logging and operation are known")
    return value


KEYS: dict[str, Key] = {
    "backups.compression_algorithm": text("Compression of new backups", "zstd"),
    "core.dns_address": text("Address and port to serve DNS zones on, :5353 for example; empty: nowhere"),
    "core.https_address": text("Address and port to serve HTTPS on, [::]:8443 for all; empty: only the Unix socket"),
    "core.https_allowed_credentials": boolean(
        "Whether pages of other origins may send the client's credentials", "false"
    ),
    "core.https_allowed_headers": text("Headers that pages of other origins may send, comma separated"),
    "core.https_allowed_methods": text("Methods that pages of other origins may use, comma separated"),
    "core.https_allowed_origin": text("The origin whose pages may use the API from a browser; empty: none"),
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
    "loki.api.ca_cert": Key("Certificate of the authority that signed the Loki server's, PEM", check=_authority),
    "loki.api.url": Key(
        "Loki server that events are forwarded to, http://HOST:3100 for example; empty: none", check=_url
    ),
    "loki.auth.password": text("Password for the Loki server"),
    "loki.auth.username": text("User for the Loki server; empty: nobody"),
    "loki.instance": text("What this server is called in the label `instance`", "its host name"),
    "loki.labels": text(
        "Members of events that become labels beside app, type, location and instance, comma separated"
    ),
    "loki.loglevel": choice("The least level of log messages", "debug", "info", "warning", "error", default="info"),
    "loki.types": Key("Types of events, comma separated", "string", "lifecycle,logging", check=_types),
    "images.remote_cache_expiry": integer("Days after which a fetched image that nobody used goes; 0: never", "10"),
}


def flag(config: Config, key: str) -> bool:
    """The boolean value of a key, or its default."""
    return as_bool(config.get(key) or KEYS[key].default)


def number(config: Config, key: str) -> int:
    """The integer value of a key, or its default."""
    return as_int(config.get(key) or KEYS[key].default)
