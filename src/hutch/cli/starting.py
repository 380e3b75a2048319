"""Starting instances, which also wakes paused ones."""

from collections.abc import Sequence

from hutch import errors
from hutch.cli import power
from hutch.cli.session import Session
from hutch.client.connection import Reply, url


def start(session: Session, names: Sequence[str], *, console: bool = False, stateless: bool = False) -> int | None:
    """Start the instances, from their state if they have one unless `stateless`, or resume those that are paused.

    With `console` stay at the console of the only one.
    """
    if console and len(names) != 1:
        raise errors.Invalid("--console goes with one instance")
    power.each(session, names, lambda name: _begin(session, name, stateless=stateless), power.STARTING)
    return attach(session, names[0]) if console else None


def attach(session: Session, name: str) -> int:
    """Stay at the console of an instance."""
    from hutch.cli.terminal import console

    return console(session, name)


def _begin(session: Session, name: str, *, stateless: bool) -> Reply:
    found = session.client.get(url("instances", name))
    if found.get("status") == power.FROZEN:
        return power.request(session, name, "unfreeze")
    return power.request(session, name, "start", stateful=bool(found.get("stateful")) and not stateless)
