"""Renaming instances and snapshots, as `rename` and `move` do."""

from hutch import errors
from hutch.cli.session import Session
from hutch.client.connection import url


def rename(session: Session, name: str, new: str) -> None:
    instance, _, snapshot = name.partition("/")
    if not snapshot:
        if "/" in new:
            raise errors.Invalid(f"an instance cannot become the snapshot {new!r}")
        session.finish(session.client.request("POST", url("instances", instance), {"name": new}), f"Renaming {name}")
        return
    owner, slash, new_snapshot = new.rpartition("/")
    if slash and owner != instance:
        raise errors.Invalid(f"the snapshot {name!r} cannot move to the instance {owner!r}; copy it instead")
    path = url("instances", instance, "snapshots", snapshot)
    session.finish(session.client.request("POST", path, {"name": new_snapshot}), f"Renaming {name}")
