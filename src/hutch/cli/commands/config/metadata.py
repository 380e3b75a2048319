"""Show and edit the metadata that an instance has from its image."""

from hutch.cli import settings
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import url

OWNER = arg("instance", metavar="INSTANCE", help="the instance", complete="instance")
MEMBERS = ("architecture", "creation_date", "expiry_date", "properties", "templates")


@command(OWNER, example="hutch config metadata show c1")
def show(session: Session, options: Options) -> None:
    """Show the metadata of an instance."""
    settings.show(session.client.get(url("instances", options.instance, "metadata")))


@command(OWNER, example="hutch config metadata edit c1")
def edit(session: Session, options: Options) -> None:
    """Edit the metadata of an instance as YAML."""
    from hutch.cli.editor import edit_document

    edit_document(session, url("instances", options.instance, "metadata"), MEMBERS)
