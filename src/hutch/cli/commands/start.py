"""Start instances, or resume paused ones."""

from hutch.cli import power, starting
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session


@command(
    power.names_argument(),
    power.all_argument(),
    arg("--stateless", action="store_true", help="boot anew; a state kept by stop --stateful is dropped"),
    arg("--console", action="store_true", help="attach to the console at once"),
    example="""
    hutch start c1 c2
    hutch start --all
    """,
)
def run(session: Session, options: Options) -> int | None:
    names = power.chosen(session, options.names, options.all, lambda found: found["status"] != power.RUNNING)
    return starting.start(session, names, console=options.console, stateless=options.stateless)
