"""The config keys of forwards."""

from ipaddress import ip_address

from hutch.errors import Invalid
from hutch.schema.keys.base import Key


def _address(value: str) -> object:
    try:
        return ip_address(value)
    except ValueError:
        raise Invalid(f"not an IP address: {value!r}") from None


FORWARD: dict[str, Key] = {
    "target_address": Key("The guest's address for everything that no port names", "IP address", check=_address),
}
