"""Run a command in an instance.

Its exit status becomes ours. It gets a terminal when both our input and our output are one; -t and -T decide otherwise.
It is run as it is, without a shell: `hutch exec c1 -- sh -c "cd /tmp && ls"`.
"""

import argparse
import os
import sys

from hutch import errors
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session, pairs


@command(
    arg("instance", metavar="INSTANCE", help="the instance", complete="instance"),
    arg("--env", action="append", default=[], metavar="KEY=VALUE", help="set a variable"),
    arg("--user", type=int, metavar="UID", help="run as this user (a number; default 0)"),
    arg("--group", type=int, metavar="GID", help="run as this group (a number; default 0)"),
    arg("--cwd", metavar="DIR", help="the working directory (default the user's home)"),
    arg("-t", "--force-interactive", action="store_true", help="give it a terminal"),
    arg("-T", "--force-noninteractive", action="store_true", help="give it no terminal"),
    arg(
        "--mode", choices=("auto", "interactive", "non-interactive"), default="auto", help="whether it gets a terminal"
    ),
    arg("-n", "--disable-stdin", action="store_true", help="give it no input"),
    arg("command", nargs=argparse.PARSER, metavar="COMMAND", help="the command and its arguments"),
    example="""
    hutch exec c1 -- apt-get update
    hutch exec c1 --env LANG=C --user 1000 --cwd /srv -- ls -l
    tar c . | hutch exec c1 -- tar x -C /srv
    """,
)
def run(session: Session, options: Options) -> int:
    from hutch.cli.terminal import execute

    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not words:
        raise errors.Invalid("no command to run")
    interactive = wants_terminal(options)
    environment = pairs(options.env)
    if interactive:
        environment.setdefault("TERM", os.environ.get("TERM") or "xterm")
    wanted = {
        "command": words,
        "environment": environment,
        "interactive": interactive,
        "wait-for-websocket": True,
        "record-output": False,
        "cwd": options.cwd or "",
    }
    wanted |= {"user": options.user} if options.user is not None else {}
    wanted |= {"group": options.group} if options.group is not None else {}
    return execute(session, options.instance, wanted, stdin=not options.disable_stdin)


def wants_terminal(options: Options) -> bool:
    if options.force_interactive and options.force_noninteractive:
        raise errors.Invalid("-t and -T contradict each other")
    if options.force_interactive or options.mode == "interactive":
        return True
    if options.force_noninteractive or options.mode == "non-interactive":
        return False
    return not options.disable_stdin and sys.stdin.isatty() and sys.stdout.isatty()
