"""Look at the daemon's operations and cancel them."""

from hutch.cli import columns, settings, table
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import Document, url

OPERATION = arg("operation", metavar="ID", help="the operation's id", complete="operation")


@command(
    arg("--all-projects", action="store_true", help="operations of all projects"),
    table.format_argument(),
    example="hutch operation list",
)
def list_(session: Session, options: Options) -> None:
    """List the operations that run or ended a moment ago."""
    query: dict[str, str | int] = {"recursion": 1} | ({"all-projects": "true"} if options.all_projects else {})
    by_status = session.client.get("/1.0/operations", **query) or {}
    found = sorted((o for group in by_status.values() for o in group), key=lambda o: str(o["created_at"]))
    heads = ["ID", "TYPE", "DESCRIPTION", "STATUS", "CANCELABLE", "CREATED"]
    table.show(options.format, heads, [_row(operation) for operation in found], found)


def _row(operation: Document) -> list[str]:
    return [
        operation["id"],
        operation["class"].upper(),
        operation.get("description") or "",
        str(operation["status"]).upper(),
        "YES" if operation.get("may_cancel") else "NO",
        columns.date(operation.get("created_at")),
    ]


@command(OPERATION, example="hutch operation show 5d3c2a1e-...")
def show(session: Session, options: Options) -> None:
    """Show an operation."""
    settings.show(session.client.get(url("operations", options.operation)))


@command(OPERATION, example="hutch operation delete 5d3c2a1e-...")
def delete(session: Session, options: Options) -> None:
    """Cancel an operation."""
    session.client.request("DELETE", url("operations", options.operation))
    session.say(f"Operation {options.operation} cancelled")
