"""Manage the rules of an ACL."""

from hutch import errors
from hutch.cli import settings
from hutch.cli.command import Options, arg, command
from hutch.cli.commands.network.acl import ACL, acl
from hutch.cli.session import Session, pairs
from hutch.client.connection import Document

DIRECTION = arg("direction", metavar="ingress|egress", choices=("ingress", "egress"), help="what it judges")


@command(
    ACL,
    DIRECTION,
    arg("values", nargs="+", metavar="KEY=VALUE", help="action, source, destination, protocol, destination_port ..."),
    example="hutch network acl rule add web ingress action=allow protocol=tcp destination_port=80,443",
)
def add(session: Session, options: Options) -> None:
    """Add a rule."""
    rule = {"state": "enabled"} | pairs(options.values)

    def apply(document: Document) -> None:
        document[options.direction] = [*(document.get(options.direction) or []), rule]

    thing = acl(session, options)
    settings.change(session, thing.path, thing.members, apply)


@command(
    ACL,
    DIRECTION,
    arg("values", nargs="*", metavar="KEY=VALUE", help="what the rule says"),
    arg("--force", action="store_true", help="remove all that match"),
    example="hutch network acl rule remove web ingress destination_port=80,443",
)
def remove(session: Session, options: Options) -> None:
    """Remove the rules that say so."""
    wanted = pairs(options.values)

    def apply(document: Document) -> None:
        rules = document.get(options.direction) or []
        gone = [rule for rule in rules if all((rule.get(key) or "") == value for key, value in wanted.items())]
        if not gone:
            raise errors.NotFound("No matching rule(s) found")
        if len(gone) > 1 and not options.force:
            raise errors.Invalid(f"{len(gone)} rules match: --force removes them all")
        document[options.direction] = [rule for rule in rules if rule not in gone]

    thing = acl(session, options)
    settings.change(session, thing.path, thing.members, apply)
