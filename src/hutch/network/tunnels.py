"""Tunnels of a bridge to bridges of other hosts: a vxlan or gretap link each, joined to the bridge."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from hutch.errors import Invalid
from hutch.schema.base import Config
from hutch.schema.keys.base import as_int, check_all
from hutch.schema.keys.network import TUNNEL, interface_name

MTU = 1400
"""What a bridge with tunnels carries unless it is told otherwise: room for the outer headers."""


@dataclass(frozen=True)
class Tunnel:
    """`link` is the interface; `settings` are the tunnel's keys without tunnel.NAME."""

    link: str
    settings: Mapping[str, str]

    @property
    def mark(self) -> str:
        """Ends the alias of the link: one with another mark is made anew."""
        return hashlib.sha256(repr(sorted(self.settings.items())).encode()).hexdigest()[:8]

    def line(self) -> str:
        """What `ip` makes the link by."""
        get = self.settings.get
        ends = [f"{key} {value}" for key in ("local", "remote") if (value := get(key))]
        if get("protocol") == "gre":
            family = "ip6gretap" if ":" in get("remote", "") else "gretap"
            return f"link add name {self.link} type {family} {' '.join(ends)}"
        if not get("remote"):
            group = get("group") or "239.0.0.1"
            ends = [f"group {group}", f"dev {get('interface')}", f"ttl {get('ttl') or 1}"]
        return f"link add name {self.link} type vxlan id {get('id') or 1} dstport {get('port') or 0} {' '.join(ends)}"


def of(network: str, config: Config) -> list[Tunnel]:
    """The tunnels that the settings ask for. Invalid when they do not fit together."""
    names: dict[str, dict[str, str]] = {}
    for key, value in config.items():
        if key.startswith("tunnel.") and value:
            _, name, setting = key.split(".", 2) if key.count(".") >= 2 else (key, "", "")
            if not re.fullmatch(r"[a-zA-Z0-9_-]+", name):
                raise Invalid(f"network {network!r}: Unknown configuration key: {key}: tunnel.NAME.SETTING is expected")
            names.setdefault(name, {})[setting] = value
    return [_tunnel(network, name, settings) for name, settings in sorted(names.items())]


def _tunnel(network: str, name: str, settings: dict[str, str]) -> Tunnel:
    what = f"network {network!r}: tunnel {name!r}"
    check_all(what, settings, TUNNEL)
    link = f"{network}-{name}"
    try:
        interface_name(link)
    except Invalid as error:
        raise Invalid(f"{what}: the interface {link!r} cannot be: {error}: give the tunnel a shorter name") from error
    local, remote = settings.get("local"), settings.get("remote")
    if bool(local) != bool(remote):
        raise Invalid(f"{what}: local and remote belong together")
    if local and remote and ip_address(local).version != ip_address(remote).version:
        raise Invalid(f"{what}: local and remote are of two families")
    if settings["protocol"] == "gre" and not remote:
        raise Invalid(f"{what}: gre needs local and remote")
    if settings["protocol"] == "vxlan" and not remote and not settings.get("interface"):
        raise Invalid(f"{what}: vxlan needs local and remote, or the interface whose multicast it uses")
    if settings["protocol"] == "vxlan" and not 0 < as_int(settings.get("id", "1")) < 1 << 24:
        raise Invalid(f"{what}: the id is 1 to 16777215")
    return Tunnel(link, settings)
