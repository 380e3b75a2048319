"""Show and change the configuration of instances and of the server."""

from hutch import errors
from hutch.cli import members, settings
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import url

SERVER = "/1.0"


def _path(name: str) -> tuple[str, tuple[str, ...]]:
    """Where the configuration of an instance, a snapshot or (no name) the server is, and what may be changed of it."""
    if not name:
        return SERVER, members.SERVER
    instance, _, snapshot = name.partition("/")
    if snapshot:
        return url("instances", instance, "snapshots", snapshot), members.SNAPSHOT
    return url("instances", instance), members.INSTANCE


@command(
    arg("name", nargs="?", default="", metavar="INSTANCE[/SNAPSHOT]", help="without one: the server",
        complete="instance"),
    arg("-e", "--expanded", action="store_true", help="with what comes from its profiles"),
    example="hutch config show c1 --expanded",
)  # fmt: skip
def show(session: Session, options: Options) -> None:
    """Show the configuration of an instance, a snapshot or the server."""
    path, changeable = _path(options.name)
    found = session.client.get(path)
    if options.name:
        changeable = (*members.INSTANCE, "expires_at") if "/" in options.name else changeable
    if options.expanded:
        found = found | {name: found.get(f"expanded_{name}") or {} for name in ("config", "devices")}
    settings.show(found, changeable)


@command(
    arg(
        "words",
        nargs="+",
        metavar="[INSTANCE] KEY",
        help="without an instance: of the server",
        complete="instance-or-key key",
    ),
    arg("-e", "--expanded", action="store_true", help="the value that its profiles give it"),
    example="""
    hutch config get c1 limits.memory
    hutch config get core.https_address
    """,
)
def get(session: Session, options: Options) -> None:
    """Show one value of an instance's or the server's configuration."""
    name, key = _name_and_key(options.words)
    found = session.client.get(_path(name)[0])
    value = (found.get("expanded_config" if options.expanded else "config") or {}).get(key, "")
    print("true" if value is True else "false" if value is False else value)


def _name_and_key(words: list[str]) -> tuple[str, str]:
    if len(words) > 2:
        raise errors.Invalid("give one key, before it an instance or nothing")
    return (words[0], words[1]) if len(words) > 1 else ("", words[0])


@command(
    arg("words", nargs="+", metavar="[INSTANCE] KEY=VALUE", help="without an instance: of the server",
        complete="instance-or-key key"),
    example="""
    hutch config set c1 limits.memory=1GiB limits.cpu=2
    hutch config set core.https_address=:8443
    hutch config set c1 user.user-data - < cloud-config.yaml
    """,
)  # fmt: skip
def set_(session: Session, options: Options) -> None:
    """Set values in an instance's or the server's configuration."""
    words = options.words
    # `core.https_address :8443` is the server's too: instances' names hold no dot.
    is_server = "=" in words[0] or (len(words) == 2 and "=" not in words[1] and "." in words[0])
    name, rest = ("", words) if is_server else (words[0], words[1:])
    if not rest:
        raise errors.Invalid("give at least one KEY=VALUE")
    if "/" in name:
        raise errors.Invalid("of a snapshot only its expiry can be changed: `hutch config edit`")
    path, changeable = _path(name)
    settings.set_keys(session, path, changeable, rest)


@command(
    arg(
        "words",
        nargs="+",
        metavar="[INSTANCE] KEY",
        help="without an instance: of the server",
        complete="instance-or-key key",
    ),
    example="hutch config unset c1 limits.memory",
)
def unset(session: Session, options: Options) -> None:
    """Remove a value from an instance's or the server's configuration."""
    name, key = _name_and_key(options.words)
    path, changeable = _path(name)
    settings.unset_key(session, path, changeable, key, name or "the server")


@command(
    arg("name", nargs="?", default="", metavar="INSTANCE[/SNAPSHOT]", help="without one: the server",
        complete="instance"),
    example="""
    hutch config edit c1
    hutch config edit c1 < c1.yaml
    """,
)  # fmt: skip
def edit(session: Session, options: Options) -> None:
    """Edit the configuration of an instance, a snapshot or the server as YAML."""
    from hutch.cli.editor import edit_document

    path, changeable = _path(options.name)
    edit_document(session, path, changeable, note=f"The configuration of {options.name or 'the server'}, as YAML.")
