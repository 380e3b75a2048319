"""Stop instances: asks the guest to shut down, with --force ends it at once."""

from hutch.cli import power
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session


@command(
    power.names_argument(),
    power.all_argument(),
    arg("-f", "--force", action="store_true", help="end it at once"),
    arg(
        "--stateful", action="store_true", help="keep memory and processes for the next start (migration.stateful=true)"
    ),
    arg("--timeout", type=int, default=-1, metavar="SECONDS", help="how long the guest may take (default: any time)"),
    example="""
    hutch stop c1 --timeout 30
    hutch stop --all --force
    """,
)
def run(session: Session, options: Options) -> None:
    up = (power.RUNNING, power.FROZEN, "Error", "Ready")
    names = power.chosen(session, options.names, options.all, lambda found: found["status"] in up)
    power.each(
        session,
        names,
        lambda name: power.request(
            session, name, "stop", timeout=options.timeout, force=options.force, stateful=options.stateful
        ),
        "Stopping",
    )
