"""See what is wrong with the server, acknowledge and delete warnings."""

from hutch import errors
from hutch.cli import columns, settings, table
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import Document, url

WARNING = arg("warning", metavar="UUID", help="the warning's id", complete="warning")


@command(
    arg("-a", "--all", action="store_true", help="those that are resolved, too"),
    table.format_argument(),
    example="hutch warning list",
)
def list_(session: Session, options: Options) -> None:
    """List the warnings."""
    found = session.client.get("/1.0/warnings", recursion=1) or []
    found = [each for each in found if options.all or each["status"] != "resolved"]
    heads = ["UUID", "TYPE", "STATUS", "SEVERITY", "COUNT", "PROJECT", "LAST SEEN", "ABOUT"]
    table.show(options.format, heads, [_row(each) for each in found], found)


def _row(warning: Document) -> list[str]:
    return [
        warning["uuid"],
        warning["type"],
        str(warning["status"]).upper(),
        str(warning["severity"]).upper(),
        str(warning["count"]),
        warning["project"],
        columns.date(warning["last_seen_at"]),
        warning.get("entity_url") or "",
    ]


@command(WARNING, example="hutch warning show 5d3c2a1e-...")
def show(session: Session, options: Options) -> None:
    """Show a warning."""
    settings.show(session.client.get(url("warnings", options.warning)))


@command(WARNING, example="hutch warning acknowledge 5d3c2a1e-...")
def acknowledge(session: Session, options: Options) -> None:
    """Mark a warning as seen."""
    session.client.request("PUT", url("warnings", options.warning), {"status": "acknowledged"})
    session.say(f"Warning {options.warning} acknowledged")


@command(
    arg("warning", nargs="?", default="", metavar="UUID", help="the warning's id", complete="warning"),
    arg("-a", "--all", action="store_true", help="every warning"),
    example="""
    hutch warning delete 5d3c2a1e-...
    hutch warning delete --all
    """,
)
def delete(session: Session, options: Options) -> None:
    """Delete a warning; it comes back when its cause is met again."""
    if bool(options.warning) == options.all:
        raise errors.Invalid("give the id of a warning, or --all")
    paths = session.client.get("/1.0/warnings") or [] if options.all else [url("warnings", options.warning)]
    for path in paths:
        session.client.request("DELETE", path)
    session.say(f"{len(paths)} warnings deleted" if options.all else f"Warning {options.warning} deleted")
