"""Manage profiles: configuration and devices that instances share."""

from collections.abc import Callable

from hutch import errors
from hutch.cli import members, settings, table
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session, redirected_yaml
from hutch.client.connection import Document, url

PROFILE = arg("profile", metavar="PROFILE", help="the profile", complete="profile")
INSTANCE = arg("instance", metavar="INSTANCE", help="the instance", complete="instance")


@command(
    arg("--all-projects", action="store_true", help="profiles of all projects"),
    table.format_argument(),
    example="hutch profile list",
)
def list_(session: Session, options: Options) -> None:
    """List the profiles."""
    query: dict[str, str | int] = {"recursion": 1} | ({"all-projects": "true"} if options.all_projects else {})
    found = session.client.get("/1.0/profiles", **query) or []
    found.sort(key=lambda profile: (str(profile.get("project")), str(profile["name"])))
    rows = [[p["name"], p.get("description") or "", str(len(p.get("used_by") or []))] for p in found]
    heads = ["NAME", "DESCRIPTION", "USED BY"]
    if options.all_projects:
        heads, rows = ["PROJECT", *heads], [[p["project"], *row] for p, row in zip(found, rows, strict=True)]
    table.show(options.format, heads, rows, found)


@command(PROFILE, example="hutch profile show default")
def show(session: Session, options: Options) -> None:
    """Show a profile."""
    settings.show(session.client.get(url("profiles", options.profile)))


@command(
    arg("profile", metavar="PROFILE", help="its name"),
    arg("--description", default="", metavar="TEXT", help="what it is for"),
    example="""
    hutch profile create web
    hutch profile create web < web.yaml
    """,
)
def create(session: Session, options: Options) -> None:
    """Make a profile, from YAML when the standard input is redirected."""
    wanted = {"description": options.description, **redirected_yaml()}
    session.finish(session.client.request("POST", "/1.0/profiles", wanted | {"name": options.profile}))
    session.say(f"Profile {options.profile} created")


@command(PROFILE, example="hutch profile edit default")
def edit(session: Session, options: Options) -> None:
    """Edit a profile as YAML."""
    from hutch.cli.editor import edit_document

    edit_document(session, url("profiles", options.profile), members.PROFILE, note=f"The profile {options.profile}.")


@command(
    PROFILE,
    arg("key", metavar="KEY", help="the key", complete="key"),
    example="hutch profile get default limits.memory",
)
def get(session: Session, options: Options) -> None:
    """Show one value of a profile's configuration."""
    settings.get_key(session, url("profiles", options.profile), options.key)


@command(
    PROFILE,
    arg("values", nargs="+", metavar="KEY=VALUE", help="what to set", complete="key"),
    example="hutch profile set default limits.memory=1GiB",
)
def set_(session: Session, options: Options) -> None:
    """Set values in a profile's configuration."""
    settings.set_keys(session, url("profiles", options.profile), members.PROFILE, options.values)


@command(
    PROFILE,
    arg("key", metavar="KEY", help="the key", complete="key"),
    example="hutch profile unset default limits.memory",
)
def unset(session: Session, options: Options) -> None:
    """Remove a value from a profile's configuration."""
    path = url("profiles", options.profile)
    settings.unset_key(session, path, members.PROFILE, options.key, f"the profile {options.profile}")


@command(PROFILE, example="hutch profile delete web")
def delete(session: Session, options: Options) -> None:
    """Delete a profile that no instance uses."""
    session.finish(session.client.request("DELETE", url("profiles", options.profile)))
    session.say(f"Profile {options.profile} deleted")


@command(PROFILE, arg("new", metavar="NEW", help="the copy's name"), example="hutch profile copy default web")
def copy(session: Session, options: Options) -> None:
    """Copy a profile."""
    found = session.client.get(url("profiles", options.profile))
    wanted = {name: found[name] for name in members.PROFILE if name in found}
    session.finish(session.client.request("POST", "/1.0/profiles", wanted | {"name": options.new}))


@command(PROFILE, arg("new", metavar="NEW", help="its new name"), example="hutch profile rename web www")
def rename(session: Session, options: Options) -> None:
    """Rename a profile."""
    session.finish(session.client.request("POST", url("profiles", options.profile), {"name": options.new}))
    session.say(f"Profile {options.profile} renamed to {options.new}")


@command(
    INSTANCE,
    arg("profiles", metavar="PROFILES", help="separated by commas; empty for none", complete="profile"),
    example="hutch profile assign c1 default,web",
)
def assign(session: Session, options: Options) -> None:
    """Give an instance these profiles and no others."""
    wanted = [name for name in options.profiles.split(",") if name]
    _change(session, options.instance, lambda _: wanted)


@command(INSTANCE, PROFILE, example="hutch profile add c1 web")
def add(session: Session, options: Options) -> None:
    """Add a profile to an instance, behind those that it has."""
    _change(session, options.instance, lambda profiles: [*profiles, options.profile])
    session.say(f"Profile {options.profile} added to {options.instance}")


@command(INSTANCE, PROFILE, example="hutch profile remove c1 web")
def remove(session: Session, options: Options) -> None:
    """Remove a profile from an instance."""

    def without(profiles: list[str]) -> list[str]:
        if options.profile not in profiles:
            raise errors.NotFound(f"{options.instance} does not have the profile {options.profile}")
        return [name for name in profiles if name != options.profile]

    _change(session, options.instance, without)
    session.say(f"Profile {options.profile} removed from {options.instance}")


def _change(session: Session, instance: str, change: Callable[[list[str]], list[str]]) -> None:
    def apply(document: Document) -> None:
        document["profiles"] = change(document.get("profiles") or [])

    settings.change(session, url("instances", instance), members.INSTANCE, apply)
