"""Look at projects."""

from hutch.cli import settings, table
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import Document, url

FEATURES = ("images", "profiles", "storage.volumes", "networks")


@command(table.format_argument(), example="hutch project list")
def list_(session: Session, options: Options) -> None:
    """List the projects."""
    found = sorted(session.client.get("/1.0/projects", recursion=1) or [], key=lambda project: str(project["name"]))
    heads = ["NAME", "IMAGES", "PROFILES", "STORAGE VOLUMES", "NETWORKS", "DESCRIPTION", "USED BY"]
    table.show(options.format, heads, [_row(session, project) for project in found], found)


def _row(session: Session, project: Document) -> list[str]:
    config = project.get("config") or {}
    own = ["YES" if config.get(f"features.{feature}") == "true" else "NO" for feature in FEATURES]
    name = f"{project['name']} (current)" if project["name"] == session.project else str(project["name"])
    return [name, *own, project.get("description") or "", str(len(project.get("used_by") or []))]


@command(arg("project", metavar="PROJECT", help="the project"), example="hutch project show default")
def show(session: Session, options: Options) -> None:
    """Show a project."""
    settings.show(session.client.get(url("projects", options.project)))
