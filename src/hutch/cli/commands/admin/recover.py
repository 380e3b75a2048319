"""Make the records of instances and volumes again after the database was lost.

Looks at the pools that are known, at those of which the daemon's folder still tells, and at those that are named here,
and shows what it found before it records anything.
"""

from typing import Any

from hutch import errors
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session


@command(
    arg("pools", nargs="*", metavar="NAME=DRIVER[,KEY=VALUE...]", help="a pool that lies elsewhere"),
    arg("-y", "--yes", action="store_true", help="without asking"),
    example="""
    hutch admin recover
    hutch admin recover data=btrfs,source=/dev/sdb
    """,
)
def run(session: Session, options: Options) -> int | None:
    wanted = {"Pools": [_pool(text) for text in options.pools]}
    found = session.client.request("POST", "/internal/recover/validate", wanted).metadata
    for sentence in found["Problems"]:
        session.warn(sentence)
    if not any(found[kind] for kind in ("Networks", "Pools", "UnknownVolumes")):
        session.say("Nothing is to be recovered: every volume that was found has its records.")
        return None
    for what, names in (("network", found["Networks"]), ("storage pool", found["Pools"])):
        for name in names:
            session.say(f"{what} {name}")
    for each in found["UnknownVolumes"]:
        what = "instance" if each["Type"] == "container" else "volume"
        count = each["SnapshotCount"]
        more = f", {count} snapshot{'s' if count > 1 else ''}" if count else ""
        session.say(f"{what} {each['Name']} (project {each['Project']}, pool {each['Pool']}{more})")
    if not options.yes and not session.confirm("Record them?"):
        return 1
    session.client.request("POST", "/internal/recover/import", wanted)
    session.say("Recovered")
    return None


def _pool(text: str) -> dict[str, Any]:
    name, equals, rest = text.partition("=")
    driver, *words = rest.split(",")
    pairs = [word.partition("=") for word in words]
    if not equals or not driver or not all(sign for _, sign, _ in pairs):
        raise errors.Invalid(f"{text!r} does not name a pool: NAME=DRIVER[,KEY=VALUE...] is expected")
    return {"name": name, "driver": driver, "config": {key: value for key, _, value in pairs}}
