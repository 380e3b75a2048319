"""Edit a file of an instance in your editor."""

import os
import tempfile
from pathlib import Path

from hutch import errors
from hutch.cli.command import Options, arg, command
from hutch.cli.editor import run_editor
from hutch.cli.filepaths import place
from hutch.cli.session import Session
from hutch.client.files import FILE, Files


@command(
    arg("path", metavar="INSTANCE/PATH", help="the file", complete="instance"),
    example="hutch file edit c1/etc/hosts",
)
def run(session: Session, options: Options) -> None:
    found = place(options.path)
    files = Files(session.client, found.instance)
    entry = files.open(found.path)
    if entry.facts.type != FILE:
        raise errors.Invalid(f"{found.path} in {found.instance} is a {entry.facts.type} and cannot be edited")
    before = entry.response.read()
    descriptor, name = tempfile.mkstemp(prefix="hutch-", suffix=f"-{found.name}")
    local = Path(name)
    try:
        os.close(descriptor)
        local.write_bytes(before)
        run_editor(local)
        after = local.read_bytes()
    finally:
        local.unlink(missing_ok=True)
    if after == before:
        session.say("Nothing was changed")
        return
    files.write(found.path, after, entry.facts, size=len(after))
