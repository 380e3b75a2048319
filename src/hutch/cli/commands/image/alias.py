"""Manage the names of images."""

from hutch.cli import table
from hutch.cli.command import Options, arg, command
from hutch.cli.imagenames import fingerprint
from hutch.cli.session import Session
from hutch.client.connection import url

ALIAS = arg("alias", metavar="ALIAS", help="the alias", complete="image")


@command(
    arg("filters", nargs="*", metavar="FILTER", help="a part of the alias or of the fingerprint"),
    table.format_argument(),
    example="hutch image alias list debian",
)
def list_(session: Session, options: Options) -> None:
    """List the aliases."""
    every = sorted(session.client.get("/1.0/images/aliases", recursion=1) or [], key=lambda a: str(a["name"]))
    found = [a for a in every if all(word in a["name"] or word in a["target"] for word in options.filters)]
    rows = [[a["name"], a["target"][:12], str(a.get("type", "")).upper(), a.get("description") or ""] for a in found]
    table.show(options.format, ["ALIAS", "FINGERPRINT", "TYPE", "DESCRIPTION"], rows, found)


@command(
    arg("alias", metavar="ALIAS", help="the new name"),
    arg("image", metavar="IMAGE", help="another alias, or the fingerprint", complete="image"),
    arg("--description", default="", metavar="TEXT", help="what it is"),
    example="hutch image alias create base debian/12",
)
def create(session: Session, options: Options) -> None:
    """Give an image another name."""
    found = session.client.get(url("images", fingerprint(session, options.image)))["fingerprint"]
    wanted = {"name": options.alias, "target": found, "description": options.description}
    session.finish(session.client.request("POST", "/1.0/images/aliases", wanted))


@command(ALIAS, example="hutch image alias delete base")
def delete(session: Session, options: Options) -> None:
    """Remove a name; the image stays."""
    session.finish(session.client.request("DELETE", url("images", "aliases", options.alias)))


@command(ALIAS, arg("new", metavar="NEW", help="its new name"), example="hutch image alias rename base golden")
def rename(session: Session, options: Options) -> None:
    """Rename an alias."""
    session.finish(session.client.request("POST", url("images", "aliases", options.alias), {"name": options.new}))
