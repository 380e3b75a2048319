"""Copy files and folders into an instance.

With several sources, or a target that is a folder or ends with a slash, files keep their names. `-` reads the standard
input. Owner and permissions are those of the local file unless given.
"""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hutch import errors
from hutch.cli.command import Options, arg, command
from hutch.cli.filepaths import Place, octal, owner_arguments, place
from hutch.cli.progress import Line, counter
from hutch.cli.session import Session
from hutch.client.connection import BLOCK, reason
from hutch.client.files import DIRECTORY, FILE, SYMLINK, Facts, Files


@command(
    arg("sources", nargs="+", metavar="SOURCE", help="local files and folders, or -", complete="file"),
    arg("target", metavar="INSTANCE/PATH", help="where to put them", complete="instance"),
    arg("-r", "--recursive", action="store_true", help="folders with all they hold"),
    arg("-p", "--create-dirs", action="store_true", help="make missing folders on the way"),
    *owner_arguments(),
    example="""
    hutch file push app.conf c1/etc/app/ --create-dirs --mode 0640
    hutch file push -r site c1/srv
    echo hello | hutch file push - c1/etc/motd
    """,
)
def run(session: Session, options: Options) -> None:
    target = place(options.target)
    with Line(session.shows_progress) as line:
        pusher = Pusher(session, target, options, line)
        into_folder = pusher.is_folder(len(options.sources) > 1)
        if options.create_dirs:
            pusher.make_parents(target.path if into_folder else target.path.rpartition("/")[0])
        for source in options.sources:
            pusher.push(source, into_folder)


class Pusher:
    def __init__(self, session: Session, target: Place, options: Options, line: Line) -> None:
        self.files, self.target, self.line = Files(session.client, target.instance), target, line
        self.recursive, self.uid, self.gid = options.recursive, options.uid, options.gid
        self.mode = octal(options.mode)

    def is_folder(self, several: bool) -> bool:
        """Whether what is pushed keeps its own names below the target."""
        found = self.files.look(self.target.path)
        if found and found.type != DIRECTORY and (several or self.target.is_folder):
            raise errors.Conflict(f"{self.target.path} in {self.target.instance} is no folder")
        return several or self.target.is_folder or bool(found and found.type == DIRECTORY)

    def make_parents(self, path: str) -> None:
        """Make the folders of a path that are missing, owned by root."""
        missing = []
        while path.strip("/") and self.files.look(path) is None:
            missing.append(path)
            path = path.rpartition("/")[0]
        for folder in reversed(missing):
            self.files.write(folder, None, Facts(DIRECTORY, 0o755, self.uid or 0, self.gid or 0))

    def push(self, source: str, into_folder: bool) -> None:
        if source == "-":
            if into_folder:
                raise errors.Invalid("the standard input needs the name of a file, not of a folder")
            self._stream(sys.stdin.buffer, self.target.path, self._facts(None), None, "standard input")
            return
        path = Path(source)
        target = self.target.below(Path(os.path.abspath(path)).name) if into_folder else self.target.path  # noqa: PTH100
        try:
            if not path.is_dir():
                self._file(path, target)
            elif self.recursive:
                self._tree(path, target)
            else:
                raise errors.Invalid(f"{source} is a folder; give -r to push it")
        except FileNotFoundError as error:
            raise errors.NotFound(f"no such file: {error.filename}") from error
        except OSError as error:
            raise errors.HutchError(f"cannot read {error.filename or source}: {reason(error)}") from error

    def _tree(self, path: Path, target: str) -> None:
        self._folder(path, target)
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            below = f"{target.rstrip('/')}/{entry.name}"
            if entry.is_symlink():
                link = str(Path(entry.path).readlink()).encode(errors="surrogateescape")
                self.files.write(below, link, self._facts(entry.stat(follow_symlinks=False), SYMLINK))
            elif entry.is_dir():
                self._tree(Path(entry.path), below)
            elif entry.is_file():
                self._file(Path(entry.path), below)
            else:
                raise errors.Unsupported(f"{entry.path} is neither file, folder nor link and cannot be pushed")

    def _folder(self, path: Path, target: str) -> None:
        found = self.files.look(target)
        if found is None:
            self.files.write(target, None, self._facts(path.stat(), DIRECTORY))
        elif found.type != DIRECTORY:
            raise errors.Conflict(f"{target} in {self.target.instance} is no folder")

    def _file(self, path: Path, target: str) -> None:
        with path.open("rb") as stream:
            facts = os.fstat(stream.fileno())
            size = facts.st_size if stat.S_ISREG(facts.st_mode) else None
            self._stream(stream, target, self._facts(facts), size, str(path))

    def _stream(self, stream: IO[bytes], target: str, facts: Facts, size: int | None, name: str) -> None:
        advance = counter(self.line, f"Pushing {name}", size)

        def blocks() -> Iterator[bytes]:
            left = size
            while left is None or left > 0:
                block = stream.read(BLOCK if left is None else min(BLOCK, left))
                if not block:
                    break
                left = None if left is None else left - len(block)
                yield block
                advance(len(block))
            if left:
                raise errors.Conflict(f"{name} became shorter while it was pushed")

        self.files.write(target, blocks(), facts, size=size)

    def _facts(self, found: os.stat_result | None, kind: str = FILE) -> Facts:
        """What the file shall be in the instance: the flags, else the local file's own, else root's."""
        mode = stat.S_IMODE(found.st_mode) if found else 0o644
        if self.mode is not None and kind == FILE:
            mode = self.mode
        uid, gid = (found.st_uid, found.st_gid) if found else (0, 0)
        return Facts(kind, mode, uid if self.uid is None else self.uid, gid if self.gid is None else self.gid)
