"""An interface of the host that the guest has to itself; it comes back with the MAC address and MTU that it had."""

from collections.abc import Mapping
from typing import Any

from hutch.device.moved import MovedNic
from hutch.errors import Invalid
from hutch.kernel import ip
from hutch.schema.keys.devices import NIC_PHYSICAL

_KEPT = "hutch-physical"
"""The link's own settings are kept in its alias behind this: it has that in the guest too, and after a crash."""


class Driver(MovedNic):
    keys = NIC_PHYSICAL

    def volatile(self) -> dict[str, str]:
        return {"host_name": self.host_name, **({"hwaddr": self.hwaddr} if self.hwaddr else {})}

    @property
    def host_name(self) -> str:
        return self.parent

    async def make(self, parent: ip.Interface) -> None:
        if parent.master or parent.kind in ("bridge", "tun"):
            raise Invalid(f"device {self.name!r}: {parent.name!r} is in use on the host, or cannot be given to a guest")
        if not parent.alias.startswith(_KEPT):
            await ip.batch(f"link set dev {parent.name} alias {_KEPT}:{parent.hwaddr}-{parent.mtu}")
        hwaddr = self.config.get("hwaddr", "").lower()
        wanted = [f"address {hwaddr}"] if hwaddr not in ("", parent.hwaddr) else []
        wanted += [f"mtu {self.config['mtu']}"] if self.config.get("mtu") else []
        if wanted:
            await ip.batch(f"link set dev {parent.name} down", f"link set dev {parent.name} {' '.join(wanted)}")

    def is_mine(self, link: Mapping[str, Any]) -> bool:
        return str(link.get("ifalias", "")).startswith(_KEPT)

    async def give_back(self) -> None:
        found = await ip.interface(self.parent)
        if found is None or not found.alias.startswith(_KEPT):
            return
        hwaddr, _, mtu = found.alias.removeprefix(f"{_KEPT}:").partition("-")
        await ip.batch(
            f"link set dev {found.name} down",
            f"link set dev {found.name} address {hwaddr} mtu {mtu}",
            f'link set dev {found.name} alias ""',
        )
