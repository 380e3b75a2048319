"""Show an instance with what it uses, or the server.

Without an instance: the server's configuration and what it runs on.
"""

import sys

from hutch.cli import settings
from hutch.cli.command import Options, arg, command
from hutch.cli.instanceinfo import text
from hutch.cli.session import Session
from hutch.client.connection import url


@command(
    arg("instance", nargs="?", metavar="INSTANCE", help="without one: the server", complete="instance"),
    arg("--show-log", action="store_true", help="the last lines of the runtime's log as well"),
    arg("--resources", action="store_true", help="what hardware the server has"),
    example="""
    hutch info c1
    hutch info c1 --show-log
    hutch info
    """,
)
def run(session: Session, options: Options) -> None:
    if options.resources and not options.instance:
        from hutch.cli import hostinfo

        print(hostinfo.text(session.client.get("/1.0/resources")))
        return
    if not options.instance:
        settings.show(session.client.get("/1.0"))
        return
    path = url("instances", options.instance)
    print(text(session.client.get(path, recursion=1)))
    if options.show_log:
        print("\nLog:\n", flush=True)
        log = session.client.stream("GET", f"{path}/logs/lxc.log").read()
        sys.stdout.buffer.write(log)
        sys.stdout.buffer.flush()
