"""Lets a person edit a document, and edit it again when it is refused."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import which
from typing import Any

from hutch import errors
from hutch.cli.session import Session
from hutch.cli.yamltext import dump, mapping

EDITORS = ("editor", "sensible-editor", "nano", "vi")


def edit_document(
    session: Session, path: str, members: tuple[str, ...], *, note: str = "", method: str = "PUT"
) -> None:
    """Edit the `members` of what is at `path` as YAML and put it back, unless it changed meanwhile."""
    reply = session.client.request("GET", path)

    def save(document: dict[str, Any]) -> None:
        session.finish(session.client.request(method, path, document, etag=reply.etag))

    shown = {name: reply.metadata[name] for name in members if name in reply.metadata}
    edit(session, dump(shown), save, note=note)


def edit(session: Session, text: str, save: Callable[[dict[str, Any]], None], *, note: str = "") -> None:
    """Let `text` be edited and saved; without a terminal the new text is read from the standard input."""
    if not sys.stdin.isatty():
        save(mapping(sys.stdin.read(), "the standard input"))
        return
    head = "".join(f"### {line}\n" for line in note.splitlines())
    original = head + text
    content = edited(original)
    while True:
        if content == original:
            session.say("Nothing was changed")
            return
        try:
            save(mapping(content, "the text"))
            return
        except errors.HutchError as error:
            print(f"Error: {error}", file=sys.stderr)
            session.ask("Press Enter to edit it again, Ctrl-C to give up: ")
            content = edited(content)


def edited(text: str, suffix: str = ".yaml") -> str:
    """The text as it was left in the editor."""
    descriptor, name = tempfile.mkstemp(prefix="hutch-", suffix=suffix)
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        run_editor(path)
        return path.read_text()
    finally:
        path.unlink(missing_ok=True)


def run_editor(path: Path) -> None:
    """Open a file in $VISUAL, $EDITOR or what the system has."""
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "")
    if not words:
        words = [found for name in EDITORS if (found := which(name))][:1]
    if not words:
        raise errors.Unsupported("no editor was found; set EDITOR to the one you use")
    try:
        code = subprocess.run([*words, str(path)], check=False).returncode
    except FileNotFoundError as error:
        raise errors.Unsupported(f"the editor {words[0]} is not installed; set EDITOR to another") from error
    if code:
        raise errors.HutchError(f"the editor {words[0]} ended with status {code}; nothing was saved")
