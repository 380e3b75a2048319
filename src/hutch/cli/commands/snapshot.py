"""Take a snapshot of an instance."""

import contextlib

from hutch import errors
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import url


@command(
    arg("instance", metavar="INSTANCE", help="the instance", complete="instance"),
    arg("name", nargs="?", default="", metavar="SNAPSHOT", help="its name; without one it follows snapshots.pattern"),
    arg("--stateful", action="store_true", help="keep the memory of the running guest too"),
    arg("--no-expiry", action="store_true", help="keep it whatever snapshots.expiry says"),
    arg("--reuse", action="store_true", help="replace a snapshot of that name"),
    example="hutch snapshot c1 before-upgrade",
)
def run(session: Session, options: Options) -> None:
    path = url("instances", options.instance, "snapshots")
    wanted = {"name": options.name, "stateful": options.stateful}
    if options.no_expiry:
        wanted["expires_at"] = "0001-01-01T00:00:00Z"
    if options.reuse and options.name:
        _replace(session, url("instances", options.instance, "snapshots", options.name))
    session.finish(session.client.request("POST", path, wanted), f"Taking a snapshot of {options.instance}")


def _replace(session: Session, path: str) -> None:
    with contextlib.suppress(errors.NotFound):
        session.finish(session.client.request("DELETE", path))
