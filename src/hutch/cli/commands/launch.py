"""Create an instance from an image and start it.

YAML with config, devices and profiles is read from the standard input when it is redirected.
"""

from hutch.cli import creation, power, starting
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session


@command(
    *creation.arguments(),
    arg("--console", action="store_true", help="attach to its console at once"),
    example="""
    hutch launch debian/12 first
    hutch launch debian/12 web -c limits.memory=1GiB -d root,size=10GiB -n hutchbr0
    hutch launch busybox tiny -e < tiny.yaml
    """,
)
def run(session: Session, options: Options) -> int | None:
    name = creation.create(session, options)
    session.say(f"Starting {name}")
    power.ended(session, name, power.request(session, name, "start"), power.STARTING)
    creation.warn_of_no_network(session, name)
    return starting.attach(session, name) if options.console else None
