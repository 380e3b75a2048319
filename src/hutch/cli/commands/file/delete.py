"""Delete files and empty folders in an instance."""

from hutch.cli.command import Options, arg, command
from hutch.cli.filepaths import place
from hutch.cli.session import Session
from hutch.client.files import Files


@command(
    arg("paths", nargs="+", metavar="INSTANCE/PATH", help="what to delete", complete="instance"),
    example="hutch file delete c1/etc/motd",
)
def run(session: Session, options: Options) -> None:
    for found in [place(word) for word in options.paths]:
        Files(session.client, found.instance).delete(found.path)
