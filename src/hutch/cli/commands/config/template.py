"""Show and change the file templates of an instance."""

import sys

from hutch.cli import table
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session
from hutch.client.connection import decoded, url

OWNER = arg("instance", metavar="INSTANCE", help="the instance", complete="instance")
TEMPLATE = arg("template", metavar="TEMPLATE", help="the template's file name")


def _path(options: Options) -> str:
    return url("instances", options.instance, "metadata", "templates")


@command(OWNER, table.format_argument(), example="hutch config template list c1")
def list_(session: Session, options: Options) -> None:
    """List the templates of an instance."""
    found = sorted(session.client.get(_path(options)) or [])
    table.show(options.format, ["FILENAME"], [[name] for name in found], found)


@command(OWNER, TEMPLATE, example="hutch config template show c1 hostname.tpl")
def show(session: Session, options: Options) -> None:
    """Print a template."""
    sys.stdout.write(_read(session, options))


@command(OWNER, TEMPLATE, example="echo '{{ container.name }}' | hutch config template create c1 name.tpl")
def create(session: Session, options: Options) -> None:
    """Make a template of what the standard input holds."""
    _write(session, options, "" if sys.stdin.isatty() else sys.stdin.read())


@command(OWNER, TEMPLATE, example="hutch config template edit c1 hosts.tpl")
def edit(session: Session, options: Options) -> None:
    """Edit a template."""
    from hutch.cli.editor import edited

    before = _read(session, options)
    after = edited(before, ".tpl") if sys.stdin.isatty() else sys.stdin.read()
    if after != before:
        _write(session, options, after)


@command(OWNER, TEMPLATE, example="hutch config template delete c1 name.tpl")
def delete(session: Session, options: Options) -> None:
    """Delete a template."""
    session.client.request("DELETE", _path(options), query={"path": options.template})


def _read(session: Session, options: Options) -> str:
    return session.client.stream("GET", _path(options), query={"path": options.template}).read().decode()


def _write(session: Session, options: Options, text: str) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    query = {"path": options.template}
    decoded(session.client.stream("POST", _path(options), text.encode(), query=query, headers=headers))
