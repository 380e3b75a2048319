"""The config keys of DNS zones."""

import re
from ipaddress import ip_address

from hutch.errors import Invalid
from hutch.schema.base import Config
from hutch.schema.keys.base import Key, boolean, check_all
from hutch.schema.keys.network import domains

ZONE: dict[str, Key] = {
    "dns.nameservers": Key("Names of the servers that serve the zone, comma separated", check=domains),
    "network.nat": boolean("Whether addresses of networks that masquerade are in it too", "true"),
}


def check(what: str, config: Config) -> None:
    """Invalid for a key that is unknown or wrong; peers.NAME.address are those who may transfer the zone."""
    plain = {key: value for key, value in config.items() if not key.startswith("peers.")}
    check_all(what, plain, ZONE, free=("user.",))
    for key in config.keys() - plain.keys():
        if not re.fullmatch(r"peers\.[A-Za-z0-9_-]+\.address", key):
            raise Invalid(
                f"{what}: Unknown configuration key: {key}: peers.NAME.address is expected (keys of peers are not supported)"
            )
        try:
            ip_address(config[key])
        except ValueError:
            raise Invalid(f"{what}: {key}: not an IP address: {config[key]!r}") from None


def peers(config: Config) -> set[str]:
    """The addresses that may transfer the zone."""
    return {str(ip_address(value)) for key, value in config.items() if key.startswith("peers.") and value}
