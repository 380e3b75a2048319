"""Attach to the console of an instance, or show what was printed on it.

Leave with Ctrl-a q; Ctrl-a twice sends one Ctrl-a.
"""

import sys

from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import blocks, url


@command(
    arg("instance", metavar="INSTANCE", help="the instance", complete="instance"),
    arg("--show-log", action="store_true", help="print what the console has shown"),
    example="""
    hutch console c1
    hutch console c1 --show-log
    """,
)
def run(session: Session, options: Options) -> int:
    if options.show_log:
        response = session.client.stream("GET", url("instances", options.instance, "console"))
        print("\nConsole log:\n", flush=True)
        for block in blocks(response):
            sys.stdout.buffer.write(block)
        print(flush=True)
        return 0
    from hutch.cli.terminal import console

    return console(session, options.instance)
