"""Tables of nftables as data: one JSON document replaces a whole table at once and touches no other."""

import json
from typing import Any

from hutch.kernel.run import run

Statement = dict[str, Any]


def match(left: Statement, right: Any, op: str = "==") -> Statement:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str, value: str) -> Statement:
    """A packet's metadata is `value`: iifname, oifname, nfproto, l4proto."""
    return match({"meta": {"key": key}}, value)


def field(protocol: str, name: str, value: Any, op: str = "==") -> Statement:
    """A header's field is `value`, or one of a set when it is a list."""
    return match(
        {"payload": {"protocol": protocol, "field": name}}, {"set": value} if isinstance(value, list) else value, op
    )


def prefix(address: str, length: int) -> Statement:
    return {"prefix": {"addr": address, "len": length}}


def sent_from(family: str, address: str) -> Statement:
    """Let the connection come from this address."""
    return {"snat": {"family": family, "addr": address}}


def redirect(family: str, address: str, port: int = 0) -> Statement:
    """Send the connection to another address instead, and port (0: the same)."""
    return {"dnat": {"family": family, "addr": address} | ({"port": port} if port else {})}


ACCEPT: Statement = {"accept": None}
DROP: Statement = {"drop": None}
REJECT: Statement = {"reject": None}
REWRITTEN: Statement = {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}
"""The connection's target was rewritten."""
MASQUERADE: Statement = {"masquerade": None}


class Table:
    """A table in the making; `name` belongs to the caller alone."""

    def __init__(self, name: str, family: str = "inet") -> None:
        self.name, self.family = name, family
        self._objects: list[dict[str, Any]] = []

    def chain(self, name: str, *, hook: str, kind: str = "filter", priority: int = 0, device: str = "") -> None:
        """A chain that packets come to by `hook`; `device`: those of this link only (family netdev)."""
        chain: dict[str, Any] = {"type": kind, "hook": hook, "prio": priority, "policy": "accept", "name": name}
        chain |= {"dev": device} if device else {}
        self._objects.append({"add": {"chain": self._mine | chain}})

    def subchain(self, name: str) -> None:
        """A chain that rules jump to."""
        self._objects.append({"add": {"chain": self._mine | {"name": name}}})

    def rule(self, chain: str, *statements: Statement) -> None:
        self._objects.append({"add": {"rule": self._mine | {"chain": chain, "expr": list(statements)}}})

    @property
    def _mine(self) -> dict[str, Any]:
        return {"family": self.family, "table": self.name}

    async def replace(self) -> None:
        """Put the table in force in one transaction, in place of what was there under its name."""
        table = {"table": {"family": self.family, "name": self.name}}
        # "add" first: deleting what is absent would fail the transaction, and nft 1.0.6 has no "destroy".
        commands = [{"add": table}, {"delete": table}, {"add": table}, *self._objects]
        await run(["nft", "-j", "-f", "-"], input=json.dumps({"nftables": commands}), repeatable=True)


async def delete(name: str, family: str = "inet") -> None:
    """Remove a table; does nothing if absent."""
    table = {"table": {"family": family, "name": name}}
    commands = [{"add": table}, {"delete": table}]
    await run(["nft", "-j", "-f", "-"], input=json.dumps({"nftables": commands}), repeatable=True)


async def chains() -> list[dict[str, Any]]:
    """Every chain of every table, with its hook and policy where it has them."""
    listed = json.loads(await run(["nft", "-j", "list", "chains"]))["nftables"]
    return [entry["chain"] for entry in listed if "chain" in entry]
