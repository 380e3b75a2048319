"""The filters of `hutch list`: names, `key=value` of the configuration, and LXD's shorthands."""

import re
from collections.abc import Callable

from hutch import errors
from hutch.client.connection import Document

Test = Callable[[Document], bool]


def matching(instances: list[Document], words: list[str]) -> list[Document]:
    """The instances that every word selects."""
    tests = [test(word) for word in words]
    return [instance for instance in instances if all(passes(instance) for passes in tests)]


def test(word: str) -> Test:
    key, equals, value = word.partition("=")
    if not equals:
        return _named(word)
    if key in SHORTHANDS:
        return SHORTHANDS[key](value)
    return _configured(key, value)


def _named(word: str) -> Test:
    """A plain word is the beginning of a name; anything else a regular expression for all of it."""
    if re.fullmatch(r"[A-Za-z0-9-]*", word):
        return lambda instance: str(instance["name"]).startswith(word)
    pattern = _compiled(word)
    return lambda instance: bool(pattern.fullmatch(str(instance["name"])))


def _configured(key: str, value: str) -> Test:
    """`u.blah=abc` names `user.blah` when no other key abbreviates so; the value is a regular expression."""
    pattern = _compiled(value)
    parts = [re.escape(part) + "[^.]*" for part in key.split(".")]
    short = re.compile(r"\.".join(parts))

    def passes(instance: Document) -> bool:
        config: dict[str, str] = (instance.get("expanded_config") or {}) | (instance.get("config") or {})
        if key in config:
            return bool(pattern.fullmatch(str(config[key])))
        keys = [name for name in config if short.fullmatch(name)]
        return len(keys) == 1 and bool(pattern.fullmatch(str(config[keys[0]])))

    return passes


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise errors.Invalid(f"the filter {text!r} is not a regular expression: {error}") from error


def _one_of(member: str) -> Callable[[str], Test]:
    def make(value: str) -> Test:
        wanted = {word.lower() for word in value.split(",")}
        return lambda instance: str(instance.get(member) or "").lower() in wanted

    return make


def _address(family: str) -> Callable[[str], Test]:
    def make(value: str) -> Test:
        from ipaddress import ip_address, ip_network

        try:
            networks = [ip_network(word, strict=False) for word in value.split(",")]
        except ValueError as error:
            raise errors.Invalid(f"the filter {value!r} is no address or subnet: {error}") from error

        def passes(instance: Document) -> bool:
            links = ((instance.get("state") or {}).get("network") or {}).values()
            found = [a["address"] for link in links for a in link.get("addresses") or [] if a["family"] == family]
            return any(ip_address(address) in network for address in found for network in networks)

        return passes

    return make


SHORTHANDS: dict[str, Callable[[str], Test]] = {
    "type": _one_of("type"),
    "status": _one_of("status"),
    "architecture": _one_of("architecture"),
    "location": _one_of("location"),
    "ipv4": _address("inet"),
    "ipv6": _address("inet6"),
}
