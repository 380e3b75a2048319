"""A nic that shares an interface of the host with it, under a MAC address of its own."""

import secrets
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from hutch.device.moved import MovedNic, is_random, random_hwaddr
from hutch.kernel import ip
from hutch.schema.keys.devices import NIC_MACVLAN


class Driver(MovedNic):
    keys = NIC_MACVLAN

    def volatile(self) -> dict[str, str]:
        return {"host_name": self.host_name, "hwaddr": self.hwaddr}

    @cached_property
    def host_name(self) -> str:
        return self.context.volatile.get("host_name") or f"mac{secrets.token_hex(4)}"

    @cached_property
    def hwaddr(self) -> str:
        return (self.config.get("hwaddr") or self.context.volatile.get("hwaddr") or random_hwaddr()).lower()

    async def make(self, parent: ip.Interface) -> None:
        mode = self.config.get("mode") or "bridge"
        await ip.batch(
            f"link add name {self.host_name} link {parent.name} address {self.hwaddr} type macvlan mode {mode}",
            *([] if parent.up else [f"link set dev {parent.name} up"]),
        )

    def is_mine(self, link: Mapping[str, Any]) -> bool:
        return str(link.get("address", "")).lower() == self.hwaddr

    async def give_back(self) -> None:
        if is_random(self.host_name, "mac"):
            await ip.delete(self.host_name)
