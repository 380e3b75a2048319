"""Show and change the devices of profiles."""

from hutch.cli.command import arg
from hutch.cli.devices import commands
from hutch.cli.members import profile

COMMANDS = commands(
    "profile device",
    arg("profile", metavar="PROFILE", help="the profile", complete="profile"),
    profile,
    leave_out="override",
)
