"""Open a login shell in an instance."""

import os
import sys

from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session


@command(
    arg("instance", metavar="INSTANCE", help="the instance", complete="instance"),
    arg("-u", "--user", default="root", metavar="NAME", help="whose shell (default root)"),
    example="""
    hutch shell c1
    hutch shell c1 --user debian
    """,
)
def run(session: Session, options: Options) -> int:
    from hutch.cli.terminal import execute

    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    wanted = {
        "command": ["su", "-l", options.user],
        "environment": {"TERM": os.environ.get("TERM") or "xterm"},
        "interactive": interactive,
        "wait-for-websocket": True,
    }
    return execute(session, options.instance, wanted)
