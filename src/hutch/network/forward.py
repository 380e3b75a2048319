"""The nftables table of a network's forwards: rewrites the target of what comes for their addresses."""

from collections.abc import Iterable, Sequence

from hutch.kernel import nft
from hutch.kernel.ip import Network
from hutch.schema.forward import ForwardRecord
from hutch.schema.keys.proxy import port_numbers

_DSTNAT, _SRCNAT = -100, 100


def table_name(network: str) -> str:
    return f"hutch_{network}/forward"


def table(network: str, forwards: Iterable[ForwardRecord], subnets: Sequence[Network]) -> nft.Table | None:
    """None when there is nothing to forward."""
    made = nft.Table(table_name(network))
    made.chain("prert", hook="prerouting", kind="nat", priority=_DSTNAT)
    made.chain("out", hook="output", kind="nat", priority=_DSTNAT)
    made.chain("pstrt", hook="postrouting", kind="nat", priority=_SRCNAT)
    targets: set[str] = set()
    for forward in forwards:
        family = "ip6" if ":" in forward.listen_address else "ip"
        here = nft.field(family, "daddr", forward.listen_address)
        for port in forward.ports:
            target = port.target_address or forward.config.get("target_address", "")
            targets.add(target)
            for listen, wanted in pairs(port.listen_port, port.target_port):
                for chain in ("prert", "out"):
                    made.rule(
                        chain, here, nft.field(port.protocol, "dport", listen), nft.redirect(family, target, wanted)
                    )
        if default := forward.config.get("target_address"):
            targets.add(default)
            for chain in ("prert", "out"):
                made.rule(chain, here, nft.redirect(family, default))
    for target in sorted(targets):
        # A guest of the same network would be answered past the host, by an address that it did not call.
        family = "ip6" if ":" in target else "ip"
        for subnet in subnets:
            if (subnet.version == 6) == (family == "ip6"):
                near = nft.field(family, "saddr", nft.prefix(str(subnet.network_address), subnet.prefixlen))
                made.rule("pstrt", nft.REWRITTEN, near, nft.field(family, "daddr", target), nft.MASQUERADE)
    return made if targets else None


def pairs(listen: str, target: str) -> list[tuple[int, int]]:
    """Each port to listen on with the one it goes to, 0 for the same."""
    ports = port_numbers(listen)
    wanted = port_numbers(target) if target else [0]
    return list(zip(ports, wanted * len(ports) if len(wanted) == 1 else wanted, strict=True))
