"""Rules in the chains of others that drop what they do not know: Docker's, ufw's, firewalld's. Without them guests reach nothing.

Each rule carries a comment that names the network; nothing else in those chains is ever touched. They are of the simplest form, one
value a match, so that iptables still reads its own tables.
"""

import json
from collections.abc import Collection, Iterable
from typing import Any

from hutch.errors import ToolFailed
from hutch.kernel import nft
from hutch.kernel.run import run

_FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
_SERVERS = {4: 67, 6: 547}
_PING = {4: "icmp", 6: "ipv6-icmp"}


def comment(network: str) -> str:
    return f"hutch network {network}"


def strangers(chains: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Chains that are not ours and drop what passes their rules, on its way through the host or to it."""
    return [
        chain
        for chain in chains
        if chain.get("hook") in ("forward", "input")
        and chain.get("policy") == "drop"
        and chain["family"] in _FAMILIES
        and not chain["table"].startswith("hutch_")
    ]


def rules(network: str, chain: dict[str, Any], versions: Collection[int]) -> list[list[nft.Statement]]:
    """What a chain has to let through: all that is forwarded, and DHCP, DNS and ICMP to the host."""
    wanted = [version for version in _FAMILIES[chain["family"]] if version in versions]
    if not wanted:
        return []
    from_guests = nft.meta("iifname", network)
    if chain["hook"] == "forward":
        return [[from_guests, nft.ACCEPT], [nft.meta("oifname", network), nft.ACCEPT]]
    found = [[from_guests, nft.field(kind, "dport", 53), nft.ACCEPT] for kind in ("tcp", "udp")]
    for version in wanted:
        found.append([from_guests, nft.field("udp", "dport", _SERVERS[version]), nft.ACCEPT])
        found.append([from_guests, nft.meta("l4proto", _PING[version]), nft.ACCEPT])
    return found


async def admit(network: str, versions: Collection[int], chains: Iterable[dict[str, Any]]) -> None:
    """Have every such chain let the network's traffic through, if it does not yet."""
    commands = []
    for chain in strangers(chains) if versions else []:
        if not await _ours(network, chain):
            for statements in rules(network, chain, versions):
                rule = _place(chain) | {"expr": statements, "comment": comment(network)}
                commands.append({"insert": {"rule": rule}})
    await _apply(commands)


async def withdraw(network: str) -> None:
    """Take the network's rules out of the chains of others."""
    commands = []
    for chain in await nft.chains():
        if chain.get("hook") in ("forward", "input") and not chain["table"].startswith("hutch_"):
            commands += [{"delete": {"rule": _place(chain) | {"handle": each}}} for each in await _ours(network, chain)]
    await _apply(commands)


def _place(chain: dict[str, Any]) -> dict[str, Any]:
    return {"family": chain["family"], "table": chain["table"], "chain": chain["name"]}


async def _ours(network: str, chain: dict[str, Any]) -> list[int]:
    try:
        listed = await run(["nft", "-j", "list", "chain", chain["family"], chain["table"], chain["name"]])
    except ToolFailed:
        return []
    entries = [entry["rule"] for entry in json.loads(listed)["nftables"] if "rule" in entry]
    return [rule["handle"] for rule in entries if rule.get("comment") == comment(network)]


async def _apply(commands: list[dict[str, Any]]) -> None:
    if commands:
        await run(["nft", "-j", "-f", "-"], input=json.dumps({"nftables": commands}))
