"""Copy files and folders out of an instance.

With several sources, or a target that is a folder or ends with a slash, files keep their names. `-` writes to the
standard output.
"""

import os
import posixpath
import sys
from pathlib import Path
from typing import IO

from hutch import errors
from hutch.cli.command import Options, arg, command
from hutch.cli.filepaths import Place, place
from hutch.cli.progress import Line, counter
from hutch.cli.session import Session
from hutch.client.connection import blocks, reason
from hutch.client.files import DIRECTORY, SYMLINK, Entry, Files

LINKS = 20
"""How many links in a row are followed."""


@command(
    arg("sources", nargs="+", metavar="INSTANCE/PATH", help="what to copy", complete="instance"),
    arg("target", metavar="TARGET", help="a local file or folder, or -", complete="file"),
    arg("-r", "--recursive", action="store_true", help="folders with all they hold, links as links"),
    arg("-p", "--create-dirs", action="store_true", help="make missing folders on the way"),
    example="""
    hutch file pull c1/etc/hosts .
    hutch file pull -r c1/var/log logs/
    hutch file pull c1/etc/os-release -
    """,
)
def run(session: Session, options: Options) -> None:
    with Line(session.shows_progress and options.target != "-") as line:
        puller = Puller(session, options.recursive, line)
        try:
            _pull_all(puller, [place(word) for word in options.sources], options)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise errors.HutchError(f"cannot write {error.filename}: {reason(error)}") from error


def _pull_all(puller: "Puller", sources: list[Place], options: Options) -> None:
    if options.target == "-":
        for source in sources:
            puller.print(source)
        return
    target = Path(options.target)
    into_folder = len(sources) > 1 or options.target.endswith("/") or target.is_dir()
    if options.create_dirs:
        (target if into_folder else target.parent).mkdir(parents=True, exist_ok=True)
    if into_folder and not target.is_dir():
        raise errors.NotFound(f"{target} is no folder; make it first, or give -p")
    for source in sources:
        puller.pull(source, target / (source.name or source.instance) if into_folder else target)


class Puller:
    def __init__(self, session: Session, recursive: bool, line: Line) -> None:
        self.session, self.recursive, self.line = session, recursive, line

    def print(self, source: Place) -> None:
        entry = self._followed(Files(self.session.client, source.instance), source.path)
        if entry.facts.type == DIRECTORY:
            raise errors.Invalid(f"{source.path} in {source.instance} is a folder")
        self._copy(entry, sys.stdout.buffer, source.path)
        sys.stdout.buffer.flush()

    def pull(self, source: Place, target: Path) -> None:
        files = Files(self.session.client, source.instance)
        entry = files.open(source.path) if self.recursive else self._followed(files, source.path)
        if entry.facts.type == DIRECTORY and not self.recursive:
            raise errors.Invalid(f"{source.path} in {source.instance} is a folder; give -r to pull it")
        self._save(files, source.path, entry, target)

    def _followed(self, files: Files, path: str) -> Entry:
        """What is at the end of the links."""
        for _ in range(LINKS):
            entry = files.open(path)
            if entry.facts.type != SYMLINK:
                return entry
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), entry.target()))
        raise errors.Invalid(f"too many links at {path}")

    def _save(self, files: Files, path: str, entry: Entry, target: Path) -> None:
        if entry.facts.type == DIRECTORY:
            _make_folder(target, entry.facts.mode)
            for name in entry.names():
                below = f"{path.rstrip('/')}/{name}"
                self._save(files, below, files.open(below), target / name)
        elif entry.facts.type == SYMLINK:
            _make_link(target, entry.target())
        else:
            # Never through a link: in a tree, a guest decides what lies where.
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _nofollow(self.recursive), 0o600)
            with os.fdopen(descriptor, "wb") as out:
                self._copy(entry, out, path)
                os.fchmod(out.fileno(), entry.facts.mode & 0o777)

    def _copy(self, entry: Entry, out: IO[bytes], path: str) -> None:
        advance = counter(self.line, f"Pulling {path}", entry.response.length)
        for block in blocks(entry.response):
            out.write(block)
            advance(len(block))


def _nofollow(recursive: bool) -> int:
    return os.O_NOFOLLOW if recursive else 0


def _make_folder(target: Path, mode: int) -> None:
    if target.is_symlink() or not target.is_dir():
        target.mkdir(mode=0o700)
    target.chmod(mode & 0o777 | 0o700)


def _make_link(target: Path, points_to: str) -> None:
    if target.is_symlink():
        target.unlink()
    target.symlink_to(points_to)
