"""An interface of the host that one guest at a time has to itself."""

from hutch.network.uplink import Uplink
from hutch.schema.keys.network import PHYSICAL


class Driver(Uplink):
    nictype = "physical"
    keys = PHYSICAL
