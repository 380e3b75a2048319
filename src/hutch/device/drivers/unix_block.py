"""A block device of the host."""

import stat

from hutch.device.node import NodeDevice


class Driver(NodeDevice):
    letter = "b"
    type_bits = stat.S_IFBLK
