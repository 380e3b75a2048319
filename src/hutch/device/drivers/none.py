"""No device: hides one of the same name that a profile has."""

from hutch.device.base import Device
from hutch.runtime.plan import LaunchPlan
from hutch.schema.keys.devices import NONE


class Driver(Device):
    keys = NONE

    @property
    def moves(self) -> bool:
        return True

    def check(self) -> None:
        """There is nothing that could be wrong."""

    async def plan(self, plan: LaunchPlan) -> None:
        """Nothing is made."""
