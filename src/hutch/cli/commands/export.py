"""Write a backup of an instance to a file."""

from hutch.cli import backups
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import url


@command(
    arg("instance", metavar="INSTANCE", help="the instance", complete="instance"),
    *backups.export_arguments(),
    arg("--instance-only", action="store_true", help="without its snapshots"),
    example="hutch export c1 /srv/backups/c1.tar.zst",
)
def run(session: Session, options: Options) -> None:
    wanted = {"instance_only": options.instance_only, "compression_algorithm": options.compression}
    backups.export(session, url("instances", options.instance), options.instance, options.target, wanted)
