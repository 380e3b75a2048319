"""Manage the entries of a record: its types and values."""

from hutch import errors
from hutch.cli import settings
from hutch.cli.command import Options, arg, command
from hutch.cli.commands.network.zone import ZONE
from hutch.cli.commands.network.zone.record import RECORD, record
from hutch.cli.session import Session
from hutch.client.connection import Document

TYPE = arg("type", metavar="TYPE", help="A, AAAA, CNAME, MX, NS, PTR, SRV or TXT")
VALUE = arg("value", metavar="VALUE", help="as zone files write it")


@command(
    ZONE,
    RECORD,
    TYPE,
    VALUE,
    arg("--ttl", type=int, default=0, metavar="SECONDS", help="how long it may be kept (default: the zone's)"),
    example="hutch network zone record entry add lan.example.org www CNAME web.lan.example.org.",
)
def add(session: Session, options: Options) -> None:
    """Add an entry."""
    entry = {"type": options.type, "ttl": options.ttl, "value": options.value}

    def apply(document: Document) -> None:
        document["entries"] = [*(document.get("entries") or []), entry]

    thing = record(session, options)
    settings.change(session, thing.path, thing.members, apply)


@command(ZONE, RECORD, TYPE, VALUE, example="hutch network zone record entry remove lan.example.org www A 192.0.2.7")
def remove(session: Session, options: Options) -> None:
    """Remove an entry."""

    def apply(document: Document) -> None:
        entries = document.get("entries") or []
        left = [each for each in entries if (each["type"], each["value"]) != (options.type, options.value)]
        if len(left) == len(entries):
            raise errors.NotFound("No matching entry found")
        document["entries"] = left

    thing = record(session, options)
    settings.change(session, thing.path, thing.members, apply)
