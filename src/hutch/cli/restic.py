"""restic as hutch's commands use it: a repository that keeps backups incrementally, deduplicated and encrypted.

What is kept is the stream of a backup without compression, one file a snapshot, so that restic finds what it has already.
The repository may be whatever restic knows: a folder, sftp:, s3:, rest:.
"""

import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hutch import errors
from hutch.cli.command import Argument, Options, arg
from hutch.client.connection import BLOCK

FILE = "backup.tar"


def arguments() -> tuple[Argument, ...]:
    return (
        arg("-r", "--repository", default="", metavar="REPOSITORY", help="where (default: $RESTIC_REPOSITORY)"),
        arg("--password-file", default="", metavar="FILE", help="its password (default: $RESTIC_PASSWORD_FILE)"),
    )


@dataclass(frozen=True)
class Kept:
    """A snapshot of restic's: the backup of an instance, or of a volume as POOL/VOLUME."""

    id: str
    time: str
    kind: str
    name: str
    project: str


class Repository:
    def __init__(self, options: Options) -> None:
        self.environment = dict(os.environ)
        if options.repository:
            self.environment["RESTIC_REPOSITORY"] = options.repository
        if options.password_file:
            self.environment["RESTIC_PASSWORD_FILE"] = options.password_file
        if not self.environment.get("RESTIC_REPOSITORY"):
            raise errors.Invalid("name a repository: --repository, or $RESTIC_REPOSITORY")

    @property
    def password_file(self) -> str:
        return self.environment.get("RESTIC_PASSWORD_FILE", "")

    def run(self, *words: str) -> str:
        """restic's output. What it says when it fails is the error."""
        with self._start(*words, stdout=subprocess.PIPE) as process:
            out, err = process.communicate()
        _check(process, err)
        return str(out.decode())

    def store(self, chunks: Iterable[bytes], kind: str, name: str, project: str) -> None:
        """Keep what `chunks` bring. Nothing is kept when they break off."""
        tags = [f"--tag=kind:{kind},name:{name},project:{project}", "--host=hutch"]
        words = ("backup", "--quiet", "--stdin", f"--stdin-filename={FILE}", *tags)
        with self._start(*words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            assert process.stdin is not None
            try:
                for chunk in chunks:
                    process.stdin.write(chunk)
            except BrokenPipeError:
                pass  # What restic says of it is told below.
            except BaseException:
                process.kill()
                raise
            err = process.communicate()[1]
        _check(process, err)

    def fetch(self, kept: Kept) -> Iterator[bytes]:
        """The stream of a backup. An error when it does not come to its end."""
        with self._start("dump", kept.id, FILE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                while chunk := process.stdout.read(BLOCK):
                    yield chunk
            except GeneratorExit:
                process.kill()
                raise
            err = process.communicate()[1]
        _check(process, err)

    def all(self) -> list[Kept]:
        """What is kept, the oldest first."""
        found: list[dict[str, Any]] = json.loads(self.run("snapshots", "--json", "--host=hutch")) or []
        return sorted((_kept(each) for each in found), key=lambda each: each.time)

    def latest(self, wanted: str) -> Kept:
        """By restic's id, or the latest of the instance or volume of that name."""
        everything = self.all()
        matches = [each for each in everything if each.name == wanted or each.id.startswith(wanted)]
        if not matches:
            raise errors.NotFound(f"the repository has no backup {wanted!r}; `hutch backup list` shows what it has")
        return matches[-1]

    def _start(self, *words: str, stdin: int | None = None, stdout: int | None = None) -> "subprocess.Popen[bytes]":
        argv = ["restic", *words]
        try:
            return subprocess.Popen(argv, env=self.environment, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)
        except FileNotFoundError:
            raise errors.Unsupported("restic is not installed: install the package restic") from None


def _check(process: "subprocess.Popen[bytes]", said: bytes) -> None:
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise errors.HutchError(f"restic: {lines[-1] if lines else f'status {process.returncode}'}")


def _kept(document: dict[str, Any]) -> Kept:
    tags = dict(tag.split(":", 1) for tag in document.get("tags") or [] if ":" in tag)
    return Kept(
        document["short_id"], document["time"], tags.get("kind", ""), tags.get("name", ""), tags.get("project", "")
    )
