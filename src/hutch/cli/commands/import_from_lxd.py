"""Bring instances, volumes, profiles and images over from an LXD server, with a report of what could not come.

REMOTE is a server that `hutch remote add` has made known, or the path of an LXD's socket on this host, such as
/var/snap/lxd/common/lxd/unix.socket. Nothing is changed there. Running instances come as they are at one moment, without
their memory. Run it again to bring what is here up to date: stop the instances over there first for the last time.
"""

from hutch import errors
from hutch.cli import between, takeover
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.cli.table import format_argument, show
from hutch.client.connection import Client


@command(
    arg("source", metavar="REMOTE", help="the server, or the path of its socket"),
    arg("instances", nargs="*", metavar="INSTANCE", help="only these instances, with their profiles and images"),
    arg("-n", "--dry-run", action="store_true", help="only say what would be done"),
    arg("-s", "--storage", metavar="POOL", help="the pool for root disks whose pool is not here", complete="pool"),
    arg("--network", metavar="NETWORK", help="the network for nics whose network is not here", complete="network"),
    arg("--instance-only", action="store_true", help="without snapshots"),
    *between.arguments()[:1],
    format_argument(),
    example="""
    hutch import-from-lxd old --dry-run
    hutch import-from-lxd old: web1 web2 --storage fast
    hutch import-from-lxd /var/lib/lxd/unix.socket
    """,
    spans=True,
)
def run(session: Session, options: Options) -> int:
    target = session.target
    if "/" in options.source:
        target, session = session, session.beside()
        session.client = Client(options.source, session.project)
    elif options.source or target is None:
        raise errors.NotFound(
            f"there is no remote {options.source!r}: `hutch remote add NAME ADDRESS` makes a server known"
        )
    found = takeover.Takeover(session, target, options).run()
    heads = ("KIND", "NAME", "RESULT", "REMARKS")
    rows = [(each.kind, each.name, each.result, "; ".join(each.remarks)) for each in found]
    show(options.format, heads, rows, [each.document() for each in found])
    return 1 if any(each.result == takeover.FAILED for each in found) else 0
