"""Create an instance from an image without starting it.

YAML with config, devices and profiles is read from the standard input when it is redirected.
"""

from hutch.cli import creation
from hutch.cli.command import Options, command
from hutch.cli.session import Session


@command(
    *creation.arguments(),
    example="""
    hutch init debian/12 web -p default -p web
    hutch init --empty blank
    """,
)
def run(session: Session, options: Options) -> None:
    creation.warn_of_no_network(session, creation.create(session, options))
