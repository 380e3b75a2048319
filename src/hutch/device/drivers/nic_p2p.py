"""A nic whose other end stays on the host, attached to nothing: addresses and routes are the administrator's."""

from hutch.device.veth import Attachment, VethNic
from hutch.schema.keys.devices import NIC_P2P


class Driver(VethNic):
    keys = NIC_P2P

    @property
    def moves(self) -> bool:
        return True

    def check(self) -> None:
        """Every setting stands by itself."""

    async def attachment(self) -> Attachment:
        return Attachment()
