"""A nic whose addresses are the host's to answer for: a veth pair that joins no bridge, routes to it, and proxied neighbours."""

import asyncio
import contextlib
from dataclasses import replace

from hutch.device.base import Device
from hutch.device.veth import Attachment, VethNic
from hutch.errors import HutchError, Invalid, NotFound
from hutch.kernel import ip, sysctl
from hutch.kernel.run import run
from hutch.runtime.base import Running
from hutch.runtime.plan import LaunchPlan
from hutch.schema.keys.devices import NIC_ROUTED, addresses
from hutch.schema.keys.network import subnets

_GATEWAYS = {4: "169.254.0.1", 6: "fe80::1"}


class Driver(VethNic):
    keys = NIC_ROUTED
    tunable = VethNic.tunable - {"ipv4.routes", "ipv6.routes"}

    def check(self) -> None:
        if not self._addresses(4) and not self._addresses(6):
            raise Invalid(f"device {self.name!r}: a routed nic needs ipv4.address or ipv6.address")

    async def attachment(self) -> Attachment:
        parent = self.config.get("parent", "")
        if parent and await ip.interface(parent) is None:
            raise NotFound(f"device {self.name!r}: Parent device {parent!r} doesn't exist")
        sources = {version: [*self._addresses(version), *self._own_routes(version)] for version in (4, 6)}
        return Attachment(only_hwaddr=True, ipv4=sources[4], ipv6=sources[6])

    async def plan(self, plan: LaunchPlan) -> None:
        await super().plan(plan)
        inside = [f"{each}/{32 if version == 4 else 128}" for version in (4, 6) for each in self._addresses(version)]
        gateways = [gateway for version in (4, 6) if (gateway := self._gateway(version))]
        plan.links[-1] = replace(plan.links[-1], addresses=inside, gateways=gateways)

    async def plug(self, running: Running) -> None:
        before = await ip.names_inside(running.init)
        await super().plug(running)
        name = (await ip.names_inside(running.init) - before).pop()
        lines = [f"link set dev {name} up"]
        for version in (4, 6):
            lines += [
                f"address add {each} dev {name} {'nodad' if version == 6 else ''}" for each in self._addresses(version)
            ]
            if gateway := self._gateway(version):
                lines.append(f"route add {gateway} dev {name}")
                lines.append(f"route add {'0.0.0.0/0' if version == 4 else '::/0'} via {gateway} dev {name}")
        inside = ["nsenter", "-t", str(running.init), "-n", "ip", "-batch", "-"]
        await run(inside, input="".join(f"{line}\n" for line in lines))

    async def tune(self, old: Device) -> None:
        assert isinstance(old, VethNic)
        where = await self.attachment()
        await self.restrain(where)

    async def release(self) -> None:
        await super().release()
        for line in self._neighbours("delete"):
            with contextlib.suppress(HutchError):
                await ip.batch(line)

    @property
    def _may_be_filtered(self) -> bool:
        return True

    def _addresses(self, version: int) -> list[str]:
        value = self.config.get(f"ipv{version}.address", "")
        return [] if value in ("", "none") else addresses(version, value)

    def _own_routes(self, version: int) -> list[str]:
        value = self.config.get(f"ipv{version}.routes")
        return subnets(version, value) if value else []

    def _gateway(self, version: int) -> str:
        """The host's end, as the guest's gateway; empty when it is not to have one."""
        if not self._addresses(version) or self.config.get(f"ipv{version}.gateway") == "none":
            return ""
        return self.config.get(f"ipv{version}.host_address") or _GATEWAYS[version]

    def _neighbours(self, verb: str) -> list[str]:
        parent = self.config.get("parent", "")
        every = [each for version in (4, 6) for each in self._addresses(version)]
        return [f"neigh {verb} proxy {each} dev {parent}" for each in every] if parent else []

    @property
    def _routes(self) -> set[str]:
        return {each for version in (4, 6) for each in (*self._addresses(version), *self._own_routes(version))}

    async def _route(self, keep: object = ()) -> None:
        await asyncio.to_thread(self._forward)
        near = self.config
        lines = []
        for version in (4, 6):
            if self._addresses(version):
                host = near.get(f"ipv{version}.host_address") or _GATEWAYS[version]
                lines.append(
                    f"address add {host}/{32 if version == 4 else 128} dev {self.host_name} {'nodad' if version == 6 else ''}"
                )
                via = self._addresses(version)[0]
                lines += [f"route add {each} dev {self.host_name} proto static" for each in self._addresses(version)]
                lines += [
                    f"route add {each} via {via} dev {self.host_name} proto static"
                    for each in self._own_routes(version)
                ]
        await ip.batch(*lines, *self._neighbours("replace"))

    def _forward(self) -> None:
        links = [self.host_name, *([self.config["parent"]] if self.config.get("parent") else [])]
        for version in (4, 6):
            if self._addresses(version):
                for link in links:
                    sysctl.write("1", "net", f"ipv{version}", "conf", link, "forwarding")
        if self._addresses(6):
            sysctl.write("1", "net", "ipv6", "conf", "all", "forwarding")
            sysctl.write("0", "net", "ipv6", "conf", self.host_name, "accept_ra")
            if self.config.get("parent"):
                sysctl.write("1", "net", "ipv6", "conf", self.config["parent"], "proxy_ndp")
