"""Manage the records that are added to a zone by hand."""

from hutch.cli import members, table
from hutch.cli.command import Options, arg, command
from hutch.cli.commands.network.zone import ZONE
from hutch.cli.documents import Thing
from hutch.cli.session import Session, pairs, redirected_yaml
from hutch.client.connection import url

RECORD = arg("record", metavar="RECORD", help="the record's name, @ for the zone itself")


def record(session: Session, options: Options) -> Thing:
    path = url("network-zones", options.zone, "records", options.record)
    return Thing(session, f"the zone record {options.record}", path, members.ZONE_RECORD)


@command(ZONE, table.format_argument(), example="hutch network zone record list lan.example.org")
def list_(session: Session, options: Options) -> None:
    """List the records of a zone."""
    found = session.client.get(url("network-zones", options.zone, "records"), recursion=1) or []
    rows = [
        [
            each["name"],
            each.get("description") or "",
            "\n".join(f"{entry['type']} {entry['value']}" for entry in each.get("entries") or []),
        ]
        for each in found
    ]
    table.show(options.format, ["NAME", "DESCRIPTION", "ENTRIES"], rows, found)


@command(
    ZONE,
    arg("record", metavar="RECORD", help="its name, @ for the zone itself"),
    arg("values", nargs="*", metavar="KEY=VALUE", help="its configuration"),
    arg("--description", default="", metavar="TEXT", help="what it is for"),
    example="hutch network zone record create lan.example.org www",
)
def create(session: Session, options: Options) -> None:
    """Make a record."""
    given = redirected_yaml()
    wanted = given | {
        "name": options.record,
        "description": options.description or given.get("description") or "",
        "config": (given.get("config") or {}) | pairs(options.values),
    }
    session.finish(session.client.request("POST", url("network-zones", options.zone, "records"), wanted))
    session.say(f"Network zone record {options.record} created")


@command(ZONE, RECORD, example="hutch network zone record show lan.example.org www")
def show(session: Session, options: Options) -> None:
    """Show a record."""
    record(session, options).show()


@command(
    ZONE,
    RECORD,
    arg("key", metavar="KEY", help="the key"),
    example="hutch network zone record get lan.example.org www user.owner",
)
def get(session: Session, options: Options) -> None:
    """Show one value of the configuration of a record."""
    record(session, options).get(options.key)


@command(
    ZONE,
    RECORD,
    arg("values", nargs="+", metavar="KEY=VALUE", help="what to set"),
    example="hutch network zone record set lan.example.org www user.owner=ann",
)
def set_(session: Session, options: Options) -> None:
    """Set values in the configuration of a record."""
    record(session, options).set(options.values)


@command(
    ZONE,
    RECORD,
    arg("key", metavar="KEY", help="the key"),
    example="hutch network zone record unset lan.example.org www user.owner",
)
def unset(session: Session, options: Options) -> None:
    """Remove a value from the configuration of a record."""
    record(session, options).unset(options.key)


@command(ZONE, RECORD, example="hutch network zone record edit lan.example.org www")
def edit(session: Session, options: Options) -> None:
    """Edit a record as YAML."""
    record(session, options).edit()


@command(ZONE, RECORD, example="hutch network zone record delete lan.example.org www")
def delete(session: Session, options: Options) -> None:
    """Delete a record."""
    record(session, options).delete()
