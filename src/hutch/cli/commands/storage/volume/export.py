"""Write a backup of a volume to a file."""

from hutch.cli import backups, volumes
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.cli.volumes import POOL, VOLUME


@command(
    POOL,
    VOLUME,
    *backups.export_arguments(),
    arg("--volume-only", action="store_true", help="without its snapshots"),
    example="hutch storage volume export default data /srv/backups/data.tar.zst",
)
def run(session: Session, options: Options) -> None:
    wanted = {"volume_only": options.volume_only, "compression_algorithm": options.compression}
    backups.export(session, volumes.path(options.pool, options.volume), options.volume, options.target, wanted)
