"""Pause instances: their processes stand still until they are resumed."""

from hutch.cli import power
from hutch.cli.command import Options, command
from hutch.cli.session import Session


@command(power.names_argument(), power.all_argument(), example="hutch pause c1")
def run(session: Session, options: Options) -> None:
    names = power.chosen(session, options.names, options.all, lambda found: found["status"] == power.RUNNING)
    power.each(session, names, lambda name: power.request(session, name, "freeze"), "Pausing")
