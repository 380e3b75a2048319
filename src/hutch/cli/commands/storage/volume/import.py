"""Make a volume of a backup's file, or of an ISO image."""

from pathlib import Path

from hutch import errors
from hutch.cli import backups
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.cli.volumes import POOL
from hutch.client.connection import url


@command(
    POOL,
    arg("file", metavar="FILE", help="the backup, or the image", complete="file"),
    arg("name", nargs="?", default="", metavar="NAME", help="the volume's name; that of the backup unless given"),
    arg("--type", default="", metavar="TYPE", help="backup or iso; by the file's name unless given"),
    example="""
    hutch storage volume import default data.tar.zst
    hutch storage volume import default debian.iso installer
    """,
)
def run(session: Session, options: Options) -> None:
    kind = options.type or ("iso" if options.file.endswith(".iso") else "backup")
    if kind == "iso" and not options.name:
        raise errors.Invalid("an ISO image needs a name for its volume")
    path = f"{url('storage-pools', options.pool)}/volumes/custom"
    backups.restore(session, path, Path(options.file), {"name": options.name, "type": kind})
