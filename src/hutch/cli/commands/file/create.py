"""Make an empty file, a folder or a link in an instance."""

from hutch import errors
from hutch.cli.command import Options, arg, command
from hutch.cli.filepaths import octal, owner_arguments, place
from hutch.cli.session import Session
from hutch.client.files import DIRECTORY, FILE, SYMLINK, Facts, Files


@command(
    arg("path", metavar="INSTANCE/PATH", help="what to make", complete="instance"),
    arg("points_to", nargs="?", metavar="TARGET", help="where a link points"),
    arg("--type", choices=(FILE, DIRECTORY, SYMLINK), default=FILE, help="what it is (default file)"),
    arg("-f", "--force", action="store_true", help="replace what is there"),
    *owner_arguments(),
    example="hutch file create --type symlink c1/etc/localtime /usr/share/zoneinfo/UTC",
)
def run(session: Session, options: Options) -> None:
    found = place(options.path)
    if (options.type == SYMLINK) != bool(options.points_to):
        raise errors.Invalid("a link, and only a link, needs the target that it points to")
    files = Files(session.client, found.instance)
    if not options.force and files.look(found.path):
        raise errors.AlreadyExists(f"{found.path} exists in {found.instance}; give --force to replace it")
    mode = octal(options.mode)
    if mode is None:
        mode = {FILE: 0o644, DIRECTORY: 0o755, SYMLINK: 0o777}[options.type]
    content = options.points_to.encode() if options.points_to else b""
    files.write(found.path, content, Facts(options.type, mode, options.uid or 0, options.gid or 0))
