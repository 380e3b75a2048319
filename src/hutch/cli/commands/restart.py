"""Restart instances: stops them as `stop` does and starts them again."""

from hutch.cli import power
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session


@command(
    power.names_argument(),
    power.all_argument(),
    arg("-f", "--force", action="store_true", help="do not ask the guest to shut down first"),
    arg("--timeout", type=int, default=-1, metavar="SECONDS", help="how long the guest may take (default: any time)"),
    example="hutch restart c1 --timeout 30",
)
def run(session: Session, options: Options) -> None:
    names = power.chosen(session, options.names, options.all, lambda found: found["status"] == power.RUNNING)
    power.each(
        session,
        names,
        lambda name: power.request(session, name, "restart", timeout=options.timeout, force=options.force),
        "Restarting",
    )
