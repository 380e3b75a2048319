"""`hutch move --check`: whether an instance can be moved while it runs, in words."""

from hutch.cli.progress import amount
from hutch.cli.session import Session
from hutch.client.connection import Document, url


def check(session: Session, name: str, *, trial: bool) -> int:
    """Print what the server finds, also against the target if there is one; 1 when the move cannot be."""
    wanted: Document = {"trial": trial}
    if session.target is not None:
        wanted["target"] = session.target.client.get("/1.0/checkpoint")
    reply = session.client.request("POST", url("instances", name, "checkpoint-check"), wanted)
    found = session.finish(reply, f"Checking {name}").get("metadata") or {}
    if not found.get("possible"):
        print(f"{name} cannot be moved while it runs:")
        for each in found.get("obstacles") or []:
            print(f"  - {_sentence(each)}")
    else:
        print(f"{name} can be moved while it runs.")
    if tried := found.get("trial"):
        print(f"It stood still for {tried['pause']:.3f} s; its state has {amount(tried['bytes'])}.")
    if changes := found.get("changes"):
        print("Switched off in its services by migration.stateful=true:")
        print("\n".join(f"  {line}" for line in changes))
    return 0 if found.get("possible") else 1


def _sentence(obstacle: Document) -> str:
    if not obstacle.get("pid"):
        return str(obstacle["reason"])
    return f"{obstacle['process']} (process {obstacle['pid']} of the host) {obstacle['reason']}"
