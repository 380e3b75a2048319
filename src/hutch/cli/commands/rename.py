"""Rename an instance or a snapshot."""

from hutch.cli.command import Options, arg, command
from hutch.cli.naming import rename
from hutch.cli.session import Session


@command(
    arg("name", metavar="INSTANCE[/SNAPSHOT]", help="what it is called", complete="instance"),
    arg("new", metavar="NEW[/SNAPSHOT]", help="what it shall be called"),
    example="""
    hutch rename c1 web
    hutch rename c1/snap0 c1/before-upgrade
    """,
)
def run(session: Session, options: Options) -> None:
    rename(session, options.name, options.new)
