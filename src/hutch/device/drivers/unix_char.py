"""A character device of the host."""

import stat

from hutch.device.node import NodeDevice


class Driver(NodeDevice):
    letter = "c"
    type_bits = stat.S_IFCHR
