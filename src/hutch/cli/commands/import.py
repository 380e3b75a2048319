"""Make an instance of a backup's file, one of hutch's, LXD's or Incus's."""

from pathlib import Path

from hutch.cli import backups
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session


@command(
    arg("file", metavar="FILE", help="the backup", complete="file"),
    arg("name", nargs="?", default="", metavar="NAME", help="the instance's name; that of the backup unless given"),
    arg("-s", "--storage", default="", metavar="POOL", help="the pool for its root disk", complete="pool"),
    example="hutch import /srv/backups/c1.tar.zst c2",
)
def run(session: Session, options: Options) -> None:
    backups.restore(session, "/1.0/instances", Path(options.file), {"name": options.name, "pool": options.storage})
