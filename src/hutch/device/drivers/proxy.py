"""A proxy: connections from the host to the guest or back, carried by one program for all, or rewritten by the kernel."""

import hashlib
from collections.abc import Collection
from ipaddress import ip_address, ip_interface

from hutch.device.base import Device
from hutch.errors import Invalid
from hutch.kernel import idmap, nft
from hutch.runtime.base import Running
from hutch.runtime.plan import LaunchPlan
from hutch.schema.keys.base import as_bool
from hutch.schema.keys.proxy import PROXY, End, ends


class Driver(Device):
    keys = PROXY

    def check(self) -> None:
        what = f"device {self.name!r}"
        listen, connect = self._ends("listen"), self._ends("connect")
        if len(connect) not in (1, len(listen)):
            raise Invalid(f"{what}: connect has {len(connect)} ports for {len(listen)} to listen on: one, or as many")
        kinds = {listen[0].kind, connect[0].kind}
        if "udp" in kinds and kinds != {"udp"}:
            raise Invalid(f"{what}: udp can be proxied to udp only")
        if as_bool(self.config.get("proxy_protocol")) and "udp" in kinds:
            raise Invalid(f"{what}: the PROXY protocol is for streams, not for udp")
        if listen[0].kind != "unix" and any(self.config.get(key) for key in ("mode", "uid", "gid")):
            raise Invalid(f"{what}: mode, uid and gid are for listening Unix sockets")
        if self._nat:
            self._check_nat(listen, connect)

    async def plan(self, plan: LaunchPlan) -> None:
        """The guest must be there first; what cannot work is said before it is."""
        self._check_static()

    async def started(self, running: Running) -> None:
        self._check_static()
        if self._nat:
            await self._table().replace()
        else:
            assert self.context.proxies is not None
            await self.context.proxies.add(self._key, self._spec(), running.init)

    async def plug(self, running: Running) -> None:
        await self.started(running)

    async def mend(self, tables: Collection[str]) -> None:
        if self._nat and self._table_name not in tables:
            await self._table().replace()

    async def unplug(self, running: Running) -> None:
        await self.release()

    async def release(self) -> None:
        if self._nat:
            await nft.delete(self._table_name)
        elif self.context.proxies is not None:
            await self.context.proxies.drop(self._key)

    @property
    def _nat(self) -> bool:
        return as_bool(self.config.get("nat"))

    @property
    def _key(self) -> str:
        return f"{self.context.project}/{self.context.instance}/{self.name}"

    @property
    def _table_name(self) -> str:
        return f"hutch_proxy_{hashlib.sha256(f'{self.context.directory}/{self.name}'.encode()).hexdigest()[:16]}"

    def _ends(self, key: str) -> list[End]:
        return ends(self.config[key])

    def _spec(self) -> dict[str, object]:
        on_host = self.config.get("bind", "host") in ("", "host")
        owner = [int(self.config.get(key) or 0) for key in ("uid", "gid")]
        user = [int(self.config.get(key) or 0) for key in ("security.uid", "security.gid")]
        return {
            "listen": [[each.kind, each.host, each.port] for each in self._ends("listen")],
            "connect": [[each.kind, each.host, each.port] for each in self._ends("connect")],
            "bind": "host" if on_host else "instance",
            "header": as_bool(self.config.get("proxy_protocol")),
            "mode": int(self.config.get("mode") or "0644", 8),
            "owner": owner if on_host else self._ids(owner),
            "user": 0 if not user[0] else self._ids(user)[0] if on_host else user[0],
            "group": 0 if not user[1] else self._ids(user)[1] if on_host else user[1],
            "root": self._ids([0, 0]),
        }

    def _ids(self, inside: list[int]) -> list[int]:
        """A user and a group of the guest as the host's ids."""
        found = [idmap.to_host(self.context.idmap, kind, number) for kind, number in zip("ug", inside, strict=True)]
        if None in found:
            raise Invalid(f"device {self.name!r}: the instance has no id {inside[found.index(None)]}")
        return [number for number in found if number is not None]

    def _check_nat(self, listen: list[End], connect: list[End]) -> None:
        what = f"device {self.name!r}"
        if self.config.get("bind", "host") not in ("", "host"):
            raise Invalid(f"{what}: Only host-bound proxies can use NAT")
        if listen[0].kind == "unix" or listen[0].kind != connect[0].kind:
            raise Invalid(f"{what}: Proxying {listen[0].kind} <-> {connect[0].kind} is not supported when using NAT")
        if as_bool(self.config.get("proxy_protocol")):
            raise Invalid(f"{what}: NAT tells the target who called by itself: unset proxy_protocol")
        near, target = ip_address(listen[0].host), ip_address(connect[0].host)
        if near.version != target.version:
            raise Invalid(f"{what}: Cannot mix IP versions between listen and connect in NAT mode")
        if near.is_unspecified or target.is_unspecified:
            raise Invalid(f"{what}: NAT needs one address to listen on, and the nic's own static address to connect to")

    def _check_static(self) -> None:
        if not self._nat:
            return
        target = ip_address(self._ends("connect")[0].host)
        statics = (device.get(f"ipv{target.version}.address", "") for device in self.context.devices.values())
        if str(target) not in [str(ip_address(each)) for each in statics if each not in ("", "none")]:
            raise Invalid(
                f"device {self.name!r}: no nic of the instance has the static address {target}, which NAT needs: set the nic's "
                f"ipv{target.version}.address"
            )

    def _table(self) -> nft.Table:
        """Rewrites what comes from elsewhere and from the host itself, and what guests send to the host's address."""
        table = nft.Table(self._table_name)
        table.chain("prert", hook="prerouting", kind="nat", priority=-100)
        table.chain("out", hook="output", kind="nat", priority=-100)
        table.chain("pstrt", hook="postrouting", kind="nat", priority=100)
        listen, connect = self._ends("listen"), self._ends("connect")
        for number, end in enumerate(listen):
            target = connect[number if len(connect) > 1 else 0]
            family = "ip6" if ":" in end.host else "ip"
            here = (nft.field(family, "daddr", end.host), nft.field(end.kind, "dport", end.port))
            for chain in ("prert", "out"):
                table.rule(chain, *here, nft.redirect(family, target.host, target.port))
            there = (nft.field(family, "daddr", target.host), nft.field(target.kind, "dport", target.port))
            table.rule("pstrt", nft.REWRITTEN, self._neighbours(family, target.host), *there, nft.MASQUERADE)
        return table

    def _neighbours(self, family: str, target: str) -> nft.Statement:
        """Senders that the guest would answer past the host, by an address that they did not call: those of its network."""
        key = "ipv6.address" if family == "ip6" else "ipv4.address"
        for device in self.context.devices.values():
            if device.get("network") and device.get(key) == target:
                gateway = self.context.network(device["network"]).config.get(key, "none")
                if gateway != "none":
                    subnet = ip_interface(gateway).network
                    return nft.field(family, "saddr", nft.prefix(str(subnet.network_address), subnet.prefixlen))
        return nft.field(family, "saddr", target)
