"""Delete instances and snapshots."""

import contextlib

from hutch import errors
from hutch.cli import power
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import url


@command(
    arg("names", nargs="+", metavar="INSTANCE[/SNAPSHOT]", help="what to delete", complete="instance"),
    arg("-f", "--force", action="store_true", help="stop running instances first"),
    arg("-i", "--interactive", action="store_true", help="ask before each"),
    example="""
    hutch delete c1 c2 --force
    hutch delete c1/before-upgrade
    """,
)
def run(session: Session, options: Options) -> None:
    for name in options.names:
        if options.interactive and not session.confirm(f"Delete {name}?"):
            raise errors.Cancelled(f"{name} was not deleted")
        instance, _, snapshot = name.partition("/")
        if snapshot:
            session.finish(session.client.request("DELETE", url("instances", instance, "snapshots", snapshot)))
        else:
            _instance(session, instance, options.force)


def _instance(session: Session, name: str, force: bool) -> None:
    found = session.client.get(url("instances", name))
    if found["status"] not in ("Stopped", "Error"):
        if not force:
            raise errors.Conflict(f"{name} is {found['status'].lower()}; stop it first, or give --force")
        session.finish(power.request(session, name, "stop", force=True), f"Stopping {name}")
    with contextlib.ExitStack() as gone:
        if found.get("ephemeral") and force:  # the stop deletes it, perhaps before we do
            gone.enter_context(contextlib.suppress(errors.NotFound))
        session.finish(session.client.request("DELETE", url("instances", name)), f"Deleting {name}")
