"""Make an image from an instance or a snapshot."""

from hutch import errors
from hutch.cli import power, starting
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session, pairs
from hutch.client.connection import url


@command(
    arg("source", metavar="INSTANCE[/SNAPSHOT]", help="what to publish; a running instance needs --force",
        complete="instance"),
    arg("properties", nargs="*", metavar="KEY=VALUE", help="properties of the image"),
    arg("--alias", action="append", default=[], metavar="ALIAS", help="a name for the image"),
    arg("-f", "--force", action="store_true", help="stop the instance meanwhile"),
    arg("--public", action="store_true", help="let everybody use the image"),
    arg("--compression", metavar="PROGRAM", help="none, gzip, xz, zstd"),
    arg("--expire", metavar="TIME", help="when the image may go, as 2027-01-31T00:00:00Z"),
    example="""
    hutch publish c1/golden --alias web/1.2 description="the web server"
    hutch publish c1 --force --alias c1-image
    """,
)  # fmt: skip
def run(session: Session, options: Options) -> None:
    name, _, snapshot = options.source.partition("/")
    stopped = False
    if not snapshot and session.client.get(url("instances", name))["status"] != "Stopped":
        if not options.force:
            raise errors.Conflict(f"{name} is running; stop it first, publish a snapshot, or give --force")
        session.finish(power.request(session, name, "stop"), f"Stopping {name}")
        stopped = True
    try:
        done = session.finish(session.client.request("POST", "/1.0/images", _request(options)), f"Publishing {name}")
    finally:
        if stopped:
            starting.start(session, [name])
    print(f"Instance published with fingerprint: {(done.get('metadata') or {}).get('fingerprint', '')}")


def _request(options: Options) -> dict[str, object]:
    wanted: dict[str, object] = {
        "source": {"type": "snapshot" if "/" in options.source else "instance", "name": options.source},
        "public": options.public,
        "properties": pairs(options.properties),
        "aliases": [{"name": alias, "description": ""} for alias in options.alias],
    }
    if options.compression:
        wanted["compression_algorithm"] = options.compression
    if options.expire:
        wanted["expires_at"] = options.expire
    return wanted
