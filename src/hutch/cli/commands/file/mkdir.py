"""Make a folder in an instance."""

from hutch.cli.command import Options, arg, command
from hutch.cli.filepaths import octal, owner_arguments, place
from hutch.cli.session import Session
from hutch.client.files import DIRECTORY, Facts, Files


@command(
    arg("path", metavar="INSTANCE/PATH", help="the folder", complete="instance"),
    arg("-p", "--create-dirs", action="store_true", help="make missing folders on the way"),
    *owner_arguments(),
    example="hutch file mkdir c1/srv/www --mode 0750",
)
def run(session: Session, options: Options) -> None:
    found = place(options.path)
    files = Files(session.client, found.instance)
    mode = octal(options.mode)
    facts = Facts(DIRECTORY, 0o755 if mode is None else mode, options.uid or 0, options.gid or 0)
    missing = [found.path]
    parent = found.path.rpartition("/")[0]
    while options.create_dirs and parent and files.look(parent) is None:
        missing.append(parent)
        parent = parent.rpartition("/")[0]
    for path in reversed(missing):
        files.write(path, None, facts)
