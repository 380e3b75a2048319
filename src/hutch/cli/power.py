"""Starting, stopping, pausing: one change of state for one, several or all instances."""

from collections.abc import Callable, Sequence

from hutch import errors
from hutch.cli.command import Argument, arg
from hutch.cli.session import Session
from hutch.client.connection import Document, Reply, url

RUNNING, FROZEN = "Running", "Frozen"
STARTING = "Starting"


def names_argument() -> Argument:
    return arg("names", nargs="*", metavar="INSTANCE", help="the instances", complete="instance")


def all_argument() -> Argument:
    return arg("--all", action="store_true", help="all instances of the project")


def request(
    session: Session, name: str, action: str, *, timeout: int = -1, force: bool = False, stateful: bool = False
) -> Reply:
    """Ask for a change of state without waiting for it; `timeout` in seconds, -1 for ever."""
    wanted = {"action": action, "timeout": timeout, "force": force, "stateful": stateful}
    return session.client.request("PUT", url("instances", name, "state"), wanted)


def ended(session: Session, name: str, reply: Reply, doing: str) -> None:
    """Wait for a change of state; where a start failed, say where its reason may be found."""
    try:
        session.finish(reply, f"{doing} {name}")
    except errors.Cancelled:
        raise
    except errors.HutchError as error:
        if doing != STARTING or "already running" in str(error):
            raise
        raise errors.HutchError(f"{error}; `hutch info {name} --show-log` may tell more") from error


def chosen(session: Session, names: Sequence[str], every: bool, fits: Callable[[Document], bool]) -> list[str]:
    """The instances to act on: those named, or with --all those that `fits` holds for."""
    if every and names:
        raise errors.Invalid("give instances or --all, not both")
    if every:
        return [found["name"] for found in session.client.get("/1.0/instances", recursion=1) or [] if fits(found)]
    if not names:
        raise errors.Invalid("name an instance, or give --all")
    return list(dict.fromkeys(names))


def each(session: Session, names: Sequence[str], begin: Callable[[str], Reply], doing: str) -> None:
    """Begin the change for all, then wait for all; what failed is told together at the end."""
    begun: list[tuple[str, Reply]] = []
    failed: list[tuple[str, errors.HutchError]] = []
    for name in names:
        try:
            begun.append((name, begin(name)))
        except errors.HutchError as error:
            failed.append((name, error))
    for name, reply in begun:
        try:
            ended(session, name, reply, doing)
        except errors.HutchError as error:
            failed.append((name, error))
    if not failed:
        return
    if len(names) == 1:
        raise failed[0][1]
    raise errors.HutchError("; ".join(f"{name}: {error}" for name, error in failed))
