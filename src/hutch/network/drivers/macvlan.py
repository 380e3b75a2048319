"""An interface of the host that guests share under MAC addresses of their own."""

from hutch.network.uplink import Uplink
from hutch.schema.keys.network import MACVLAN


class Driver(Uplink):
    nictype = "macvlan"
    keys = MACVLAN
