"""Show instances with their state and addresses.

A word selects names that begin with it, or is a regular expression for whole names. KEY=VALUE selects by
configuration (keys may be abbreviated: u.blah=abc) or by type, status, architecture, location, ipv4, ipv6.

Columns (-c): 4 IPv4, 6 IPv6, a architecture, b storage pool, c created, d description, D disk usage, e project,
f base image, F the same in full, l last used, L location, m memory, M memory %, n name, N processes, p pid,
P profiles, s state, S snapshots, t type, u CPU time; and [config:|devices:]KEY[:NAME][:MAXWIDTH].
"""

from hutch.cli import columns, filters, table
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session


@command(
    arg("filters", nargs="*", metavar="FILTER", help="a name, a regular expression, or KEY=VALUE"),
    arg("-c", "--columns", metavar="COLUMNS", help=f"columns to show (default {columns.DEFAULT})"),
    arg("--fast", action="store_true", help=f"show only what is known without asking the guests ({columns.FAST})"),
    arg("--all-projects", action="store_true", help="instances of all projects"),
    table.format_argument(),
    example="""
    hutch list
    hutch list status=running -c ns4,image.os:OS
    hutch list web --format csv -c n
    """,
)
def run(session: Session, options: Options) -> None:
    shown, needs_state = columns.parsed(_columns(options))
    needs_state = needs_state or any(word.startswith(("ipv4=", "ipv6=")) for word in options.filters)
    whole = needs_state or (options.format in ("json", "yaml") and not options.fast)
    query: dict[str, str | int] = {"recursion": 2 if whole else 1}
    if options.all_projects:
        query["all-projects"] = "true"
    found = filters.matching(session.client.get("/1.0/instances", **query) or [], options.filters)
    found.sort(key=lambda instance: (str(instance.get("project")), str(instance["name"])))
    rows = [[cell(instance) for _, cell in shown] for instance in found]
    table.show(options.format, [head for head, _ in shown], rows, found)


def _columns(options: Options) -> str:
    if options.columns:
        return str(options.columns)
    default = columns.FAST if options.fast else columns.DEFAULT
    return f"e{default}" if options.all_projects else default
