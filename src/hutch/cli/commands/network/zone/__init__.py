"""Manage DNS zones, which other name servers fetch."""

from hutch.cli import members, table
from hutch.cli.command import Options, arg, command
from hutch.cli.documents import Thing
from hutch.cli.session import Session, pairs, redirected_yaml
from hutch.client.connection import url

ZONE = arg("zone", metavar="ZONE", help="the zone")


def zone(session: Session, options: Options) -> Thing:
    return Thing(session, f"the network zone {options.zone}", url("network-zones", options.zone), members.ZONE)


@command(table.format_argument(), example="hutch network zone list")
def list_(session: Session, options: Options) -> None:
    """List the zones."""
    found = session.client.get("/1.0/network-zones", recursion=1) or []
    rows = [[each["name"], each.get("description") or "", str(len(each.get("used_by") or []))] for each in found]
    table.show(options.format, ["NAME", "DESCRIPTION", "USED BY"], rows, found)


@command(
    arg("zone", metavar="ZONE", help="its name"),
    arg("values", nargs="*", metavar="KEY=VALUE", help="its configuration"),
    arg("--description", default="", metavar="TEXT", help="what it is for"),
    example="hutch network zone create lan.example.org peers.main.address=192.0.2.53",
)
def create(session: Session, options: Options) -> None:
    """Make a zone."""
    given = redirected_yaml()
    wanted = {
        "name": options.zone,
        "description": options.description or given.get("description") or "",
        "config": (given.get("config") or {}) | pairs(options.values),
    }
    session.finish(session.client.request("POST", "/1.0/network-zones", wanted))
    session.say(f"Network zone {options.zone} created")


@command(ZONE, example="hutch network zone show lan.example.org")
def show(session: Session, options: Options) -> None:
    """Show a zone."""
    zone(session, options).show()


@command(ZONE, arg("key", metavar="KEY", help="the key"), example="hutch network zone get lan.example.org user.owner")
def get(session: Session, options: Options) -> None:
    """Show one value of the configuration of a zone."""
    zone(session, options).get(options.key)


@command(
    ZONE,
    arg("values", nargs="+", metavar="KEY=VALUE", help="what to set"),
    example="hutch network zone set lan.example.org user.owner=ann",
)
def set_(session: Session, options: Options) -> None:
    """Set values in the configuration of a zone."""
    zone(session, options).set(options.values)


@command(ZONE, arg("key", metavar="KEY", help="the key"), example="hutch network zone unset lan.example.org user.owner")
def unset(session: Session, options: Options) -> None:
    """Remove a value from the configuration of a zone."""
    zone(session, options).unset(options.key)


@command(ZONE, example="hutch network zone edit lan.example.org")
def edit(session: Session, options: Options) -> None:
    """Edit a zone as YAML."""
    zone(session, options).edit()


@command(ZONE, example="hutch network zone delete lan.example.org")
def delete(session: Session, options: Options) -> None:
    """Delete a zone."""
    zone(session, options).delete()
