"""Manage projects: rooms with instances, images, profiles and volumes of their own, limits and restrictions."""

from hutch.cli import members, settings, table
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session, pairs, redirected_yaml
from hutch.client.connection import Document, url

PROJECT = arg("project", metavar="PROJECT", help="the project", complete="project")
FEATURES = {
    "IMAGES": "images",
    "PROFILES": "profiles",
    "STORAGE VOLUMES": "storage.volumes",
    "STORAGE BUCKETS": "storage.buckets",
    "NETWORKS": "networks",
    "NETWORK ZONES": "networks.zones",
}


@command(table.format_argument(), example="hutch project list")
def list_(session: Session, options: Options) -> None:
    """List the projects, and what each has for itself."""
    found = sorted(session.client.get("/1.0/projects", recursion=1) or [], key=lambda project: str(project["name"]))
    heads = ["NAME", *FEATURES, "DESCRIPTION", "USED BY"]
    table.show(options.format, heads, [_row(session, project) for project in found], found)


def _row(session: Session, project: Document) -> list[str]:
    config = project.get("config") or {}
    own = ["YES" if config.get(f"features.{feature}") == "true" else "NO" for feature in FEATURES.values()]
    name = f"{project['name']} (current)" if project["name"] == session.project else str(project["name"])
    return [name, *own, project.get("description") or "", str(len(project.get("used_by") or []))]


@command(PROJECT, example="hutch project show default")
def show(session: Session, options: Options) -> None:
    """Show a project."""
    settings.show(session.client.get(url("projects", options.project)))


@command(PROJECT, table.format_argument(), example="hutch project info web")
def info(session: Session, options: Options) -> None:
    """Show how much of a project's limits is used."""
    found = session.client.get(url("projects", options.project) + "/state")["resources"]
    rows = [[name.upper(), *(_amount(name, each[word]) for word in ("Limit", "Usage"))] for name, each in found.items()]
    table.show(options.format, ["RESOURCE", "LIMIT", "USAGE"], sorted(rows), found)


def _amount(name: str, amount: int) -> str:
    if amount < 0:
        return "UNLIMITED"
    if name not in ("disk", "memory"):
        return str(amount)
    from hutch.cli.progress import binary_amount

    return binary_amount(amount)


@command(
    arg("project", metavar="PROJECT", help="its name"),
    arg("--description", default="", metavar="TEXT", help="what it is for"),
    arg("-c", "--config", action="append", metavar="KEY=VALUE", help="a value of its configuration"),
    example="""
    hutch project create web -c limits.instances=10
    hutch project create guests -c restricted=true -c features.images=false
    hutch project create web < web.yaml
    """,
)
def create(session: Session, options: Options) -> None:
    """Make a project, from YAML when the standard input is redirected."""
    wanted = {"description": options.description, **redirected_yaml()}
    wanted["config"] = (wanted.get("config") or {}) | pairs(options.config)
    session.finish(session.client.request("POST", "/1.0/projects", wanted | {"name": options.project}))
    session.say(f"Project {options.project} created")


@command(PROJECT, example="hutch project edit web")
def edit(session: Session, options: Options) -> None:
    """Edit a project as YAML."""
    from hutch.cli.editor import edit_document

    edit_document(session, url("projects", options.project), members.PROJECT, note=f"The project {options.project}.")


@command(
    PROJECT,
    arg("key", metavar="KEY", help="the key", complete="project-key"),
    example="hutch project get web limits.memory",
)
def get(session: Session, options: Options) -> None:
    """Show one value of a project's configuration."""
    settings.get_key(session, url("projects", options.project), options.key)


@command(
    PROJECT,
    arg("values", nargs="+", metavar="KEY=VALUE", help="what to set", complete="project-key"),
    example="hutch project set web limits.memory=8GiB restricted=true",
)
def set_(session: Session, options: Options) -> None:
    """Set values in a project's configuration."""
    settings.set_keys(session, url("projects", options.project), members.PROJECT, options.values)


@command(
    PROJECT,
    arg("key", metavar="KEY", help="the key", complete="project-key"),
    example="hutch project unset web limits.memory",
)
def unset(session: Session, options: Options) -> None:
    """Remove a value from a project's configuration."""
    path = url("projects", options.project)
    settings.unset_key(session, path, members.PROJECT, options.key, f"the project {options.project}")


@command(PROJECT, arg("new", metavar="NEW", help="its new name"), example="hutch project rename web www")
def rename(session: Session, options: Options) -> None:
    """Rename a project that nothing is in."""
    session.finish(session.client.request("POST", url("projects", options.project), {"name": options.new}))
    session.say(f"Project {options.project} renamed to {options.new}")


@command(PROJECT, example="hutch project delete web")
def delete(session: Session, options: Options) -> None:
    """Delete a project that nothing is in."""
    session.client.request("DELETE", url("projects", options.project))
    session.say(f"Project {options.project} deleted")


@command(PROJECT, example="hutch project switch web")
def switch(session: Session, options: Options) -> None:
    """Let commands that name no project work in this one."""
    from hutch.client.remotes import Remotes

    session.client.get(url("projects", options.project))
    Remotes().work_in(session.remote, options.project)


@command(example="hutch project get-current")
def get_current(session: Session, options: Options) -> None:
    """Print the project that commands work in."""
    print(session.project)
