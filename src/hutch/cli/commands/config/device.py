"""Show and change the devices of instances."""

from hutch.cli.command import arg
from hutch.cli.devices import commands
from hutch.cli.members import instance

COMMANDS = commands(
    "config device", arg("instance", metavar="INSTANCE", help="the instance", complete="instance"), instance
)
