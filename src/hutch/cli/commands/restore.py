"""Bring an instance back to one of its snapshots."""

from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import url


@command(
    arg("instance", metavar="INSTANCE", help="the instance", complete="instance"),
    arg("snapshot", metavar="SNAPSHOT", help="the snapshot"),
    arg("--stateful", action="store_true", help="bring back the memory as well"),
    example="hutch restore c1 before-upgrade",
)
def run(session: Session, options: Options) -> None:
    snapshot = options.snapshot.removeprefix(f"{options.instance}/")
    wanted = {"restore": snapshot, "stateful": options.stateful}
    reply = session.client.request("PUT", url("instances", options.instance), wanted)
    session.finish(reply, f"Restoring {options.instance}")
