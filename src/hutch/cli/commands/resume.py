"""Resume paused instances."""

from hutch.cli import power
from hutch.cli.command import Options, command
from hutch.cli.session import Session


@command(power.names_argument(), power.all_argument(), example="hutch resume c1")
def run(session: Session, options: Options) -> None:
    names = power.chosen(session, options.names, options.all, lambda found: found["status"] == power.FROZEN)
    power.each(session, names, lambda name: power.request(session, name, "unfreeze"), "Resuming")
