"""Manage network ACLs: rules for what guests send and receive."""

from hutch.cli import members, table
from hutch.cli.command import Options, arg, command
from hutch.cli.documents import Thing
from hutch.cli.session import Session, pairs, redirected_yaml
from hutch.client.connection import url

ACL = arg("acl", metavar="ACL", help="the ACL")


def acl(session: Session, options: Options) -> Thing:
    return Thing(session, f"the network ACL {options.acl}", url("network-acls", options.acl), members.ACL)


@command(table.format_argument(), example="hutch network acl list")
def list_(session: Session, options: Options) -> None:
    """List the ACLs."""
    found = session.client.get("/1.0/network-acls", recursion=1) or []
    rows = [[each["name"], each.get("description") or "", str(len(each.get("used_by") or []))] for each in found]
    table.show(options.format, ["NAME", "DESCRIPTION", "USED BY"], rows, found)


@command(
    arg("acl", metavar="ACL", help="its name"),
    arg("values", nargs="*", metavar="KEY=VALUE", help="its configuration"),
    arg("--description", default="", metavar="TEXT", help="what it is for"),
    example="""
    hutch network acl create web
    hutch network acl create web < web.yaml
    """,
)
def create(session: Session, options: Options) -> None:
    """Make an ACL, from YAML when the standard input is redirected."""
    given = redirected_yaml()
    wanted = given | {
        "name": options.acl,
        "description": options.description or given.get("description") or "",
        "config": (given.get("config") or {}) | pairs(options.values),
    }
    session.finish(session.client.request("POST", "/1.0/network-acls", wanted))
    session.say(f"Network ACL {options.acl} created")


@command(ACL, example="hutch network acl show web")
def show(session: Session, options: Options) -> None:
    """Show an ACL."""
    acl(session, options).show()


@command(ACL, arg("key", metavar="KEY", help="the key"), example="hutch network acl get web user.owner")
def get(session: Session, options: Options) -> None:
    """Show one value of an ACL's configuration."""
    acl(session, options).get(options.key)


@command(
    ACL,
    arg("values", nargs="+", metavar="KEY=VALUE", help="what to set"),
    example="hutch network acl set web user.owner=ann",
)
def set_(session: Session, options: Options) -> None:
    """Set values in an ACL's configuration."""
    acl(session, options).set(options.values)


@command(ACL, arg("key", metavar="KEY", help="the key"), example="hutch network acl unset web user.owner")
def unset(session: Session, options: Options) -> None:
    """Remove a value from an ACL's configuration."""
    acl(session, options).unset(options.key)


@command(ACL, example="hutch network acl edit web")
def edit(session: Session, options: Options) -> None:
    """Edit an ACL as YAML."""
    acl(session, options).edit()


@command(ACL, arg("new", metavar="NEW", help="its new name"), example="hutch network acl rename web shop")
def rename(session: Session, options: Options) -> None:
    """Rename an ACL that nothing uses."""
    session.finish(session.client.request("POST", url("network-acls", options.acl), {"name": options.new}))
    session.say(f"Network ACL {options.acl} renamed to {options.new}")


@command(ACL, example="hutch network acl delete web")
def delete(session: Session, options: Options) -> None:
    """Delete an ACL that nothing uses."""
    acl(session, options).delete()
